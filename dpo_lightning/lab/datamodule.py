"""The lab as a DataModule: makes its world and its starting policy, then loads its rows like any other data."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional

import torch
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning import Format, InputError, PreferenceDataModule, RowFormat, ScoredListFormat
from dpo_lightning.lab.pairs import LABELS, draw_lists, draw_pairs, draw_texts, split_scenes
from dpo_lightning.lab.policy import PolicyRecipe, fit_policy
from dpo_lightning.lab.tokenizer import build_tokenizer
from dpo_lightning.lab.world import WORLD_VERSION, Scene
from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.settings import at_least, check_rules

_SETTINGS = "lab.json"


class LabDataModule(PreferenceDataModule):
    """Preference pairs of a small world whose true reward is known, and a policy fitted on that world's text.

    `prepare_data` writes `train.jsonl`, `validation.jsonl` and `policy/` (model and tokenizer) under `root`, all of
    it or nothing; a later run with the same settings takes what is there. The module's `policy` is then `root` +
    `/policy`: Lightning loads it after `prepare_data`. Nothing is downloaded.

    Args:
        root: Directory of the lab.
        train_pairs: Pairs to train on, or lists, of which each is one row as well.
        val_pairs: Held-out pairs or lists, about scenes that occur in none to train on and no text of the starting
            policy.
        recipe: Settings of the starting policy.
        world_seed: Seed of the pairs and texts.
        completions: Completions of a prompt; null writes pairs, a number lists of that many with their true rewards.
        format: What is read of a row. A pair also has `chosen_reward`, `rejected_reward` and `chosen_probability`; a
            list has `completions` and `true_rewards`. Null reads pairs of the former without these columns, and lists
            of the latter; for the best against the worst of a list, take `ScoredPairsFormat(score="true_rewards")`.
        batch_pairs: Most pairs of a micro-batch on each device; null takes 16, unless `batch_tokens` is given.
        batch_tokens: Instead, as many pairs as have that many tokens: prompt, chosen and rejected, each once.
        eval_batch_pairs: Most pairs in validation, test and prediction; null takes what training takes.
        layout: `tree`, `padded`, or `auto`, which takes `tree` where it is right for the model.
        length_grouped: Put pairs of similar length into a batch; null does so in the padded layout.
        num_workers: Processes that prepare batches; 0 prepares them in the main process.
        seed: Seed of the order.
    """

    default_batch_pairs: ClassVar[int] = 16

    def __init__(  # noqa: PLR0913 - the constructor is the config
        self,
        root: str = "runs/quickstart/lab",
        *,
        train_pairs: int = 4000,
        val_pairs: int = 300,
        recipe: PolicyRecipe = PolicyRecipe(),  # noqa: B008 - frozen
        world_seed: int = 0,
        completions: Optional[int] = None,
        format: Optional[Format] = None,
        batch_pairs: Optional[int] = None,
        batch_tokens: Optional[int] = None,
        eval_batch_pairs: Optional[int] = None,
        layout: Literal["auto", "tree", "padded"] = "auto",
        length_grouped: Optional[bool] = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        check_arguments(LabDataModule, locals(), "data.")
        sizes = {"train_pairs": at_least(1), "val_pairs": at_least(1), "completions": at_least(2)}
        check_rules("data.", locals(), world_seed=at_least(0), **sizes)
        self.root = Path(root)
        super().__init__(
            {split: str(self.root / f"{split}.jsonl") for split in ("train", "validation")},
            str(self.root / "policy"),
            val_split="validation",
            format=format or _read_by_default(completions),
            batch_pairs=batch_pairs,
            batch_tokens=batch_tokens,
            eval_batch_pairs=eval_batch_pairs,
            layout=layout,
            length_grouped=length_grouped,
            num_workers=num_workers,
            seed=seed,
        )
        self.recipe = recipe
        self.settings: dict[str, Any] = {
            "world_version": WORLD_VERSION,
            "world_seed": world_seed,
            "train_pairs": train_pairs,
            "val_pairs": val_pairs,
            "recipe": asdict(recipe),
            # Not there for pairs, so that the labs of earlier versions are found again.
            **({} if completions is None else {"completions": completions}),
        }

    def prepare_data(self) -> None:
        """Make the lab unless it is there, then tokenise its pairs.

        Raises:
            InputError: when `root` is there and holds no lab.
        """
        if _read_settings(self.root) == self.settings:
            rank_zero_info(f"lab: taking the world and the starting policy in {self.root}")
        else:
            rank_zero_info(f"lab: writing a world to {self.root} and fitting a starting policy on its text")
            with replaced(self.root) as directory:
                self._make(directory)
        super().prepare_data()

    def _make(self, directory: Path) -> None:
        seed = self.settings["world_seed"]
        train, held_out = split_scenes(seed)
        directory.mkdir()
        for split, scenes in (("train", train), ("validation", held_out)):
            count = self.settings["train_pairs" if split == "train" else "val_pairs"]
            rows = self._draw(scenes, count, random.Random(f"{split} {seed}"))
            (directory / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        texts = draw_texts(train, self.recipe.texts, random.Random(f"texts {seed}"))
        fit = partial(fit_policy, self.recipe, build_tokenizer(), texts, directory / "policy")
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            _run_apart(partial(fit, progress_bar=False))
        else:
            fit(progress_bar=self._shows_progress())
        (directory / _SETTINGS).write_text(json.dumps(self.settings, indent=2) + "\n", encoding="utf-8")

    def _draw(self, scenes: Sequence[Scene], count: int, rng: random.Random) -> list[dict[str, Any]]:
        completions = self.settings.get("completions")
        if completions is None:
            return draw_pairs(scenes, count, rng)
        return draw_lists(scenes, count, completions, rng)

    def _shows_progress(self) -> bool:
        return self.trainer is None or self.trainer.progress_bar_callback is not None


def _read_by_default(completions: int | None) -> Format:
    if completions is None:
        return RowFormat(ignore=[*LABELS])
    return ScoredListFormat(score="true_rewards")


def _run_apart(call: Callable[[], None]) -> None:
    """Run a call in its own process: a Trainer within a distributed run waits for the processes that wait for it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(call).result()


def _read_settings(root: Path) -> Any:
    """Read the settings of the lab in `root`; None where there is nothing yet."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        return json.loads((root / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"data.root: {root} is there and holds no lab: name another directory, or delete it") from None
