"""Samples of the policy before and after the fit, side by side."""

from __future__ import annotations

from typing import Any, Optional, cast

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.data import PreferenceSource
from dpo_lightning.errors import InputError
from dpo_lightning.policy.sampling import sample_completions
from dpo_lightning.policy.sharding import is_sharded
from dpo_lightning.report.samples import RewardFunction, SampledPrompt, print_samples, summarise, write_samples
from dpo_lightning.run import source_of
from dpo_lightning.utils.files import spared
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.settings import POSITIVE, SEED, at_least, check_rules
from dpo_lightning.utils.text import one_line

_RULES = {
    **dict.fromkeys(("prompts", "samples_per_prompt", "max_new_tokens"), at_least(1)),
    "temperature": POSITIVE,
    "seed": SEED,
    "shown": at_least(0),
}


class SampleTable(pl.Callback):
    """Samples from the policy when the fit starts and when it ends, prints a table, and writes all of it as Markdown.

    Args:
        path: The Markdown file.
        prompts: Number of prompts: the first different ones of the validation pairs.
        samples_per_prompt: Completions of each prompt; the table shows one, the file all.
        max_new_tokens: Most tokens of a completion.
        temperature: Softmax temperature; 1 samples from the policy itself.
        seed: Seed of the samples, the same before and after.
        reward: Function of prompt and completion, where a true reward is known; its means are reported.
        shown: Rows of the printed table.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dpo_lightning.callbacks import SampleTable
        >>> def brevity(prompt: str, completion: str) -> float:
        ...     return -float(len(completion.split()))
        >>> table = SampleTable("runs/samples.md", prompts=8, samples_per_prompt=2, reward=brevity)
        >>> trainer = Trainer(max_steps=100, logger=False, callbacks=[table])
        >>> table.reward("Say hello.", "Hello to you!")
        -3.0
    """

    def __init__(
        self,
        path: str,
        prompts: int = 16,
        *,
        samples_per_prompt: int = 4,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        seed: int = 0,
        reward: Optional[RewardFunction] = None,
        shown: int = 5,
    ) -> None:
        check_arguments(SampleTable, locals(), "SampleTable.")
        check_rules("SampleTable.", locals(), **_RULES)
        if not (reward is None or callable(reward)):
            given = one_line(repr(reward), 80)
            raise InputError(f"SampleTable.reward is a function of prompt and completion, got {given}")
        self.path = path
        self.prompts = prompts
        self.samples_per_prompt = samples_per_prompt
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.seed = seed
        self.reward = reward
        self.shown = shown
        self._before: list[list[str]] = []
        self._asked: list[list[int]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sample before the first step; a resumed run has the samples of its beginning in the checkpoint.

        Where the prompts are others by then, there is no sample of the beginning, and those of the resume stand for it.
        """
        now = self._prompt_ids(trainer)
        if trainer.ckpt_path is None or self._asked != now or len(self._before) != len(now):
            self._before = self._sample(trainer, pl_module)
        self._asked = now

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sample again, print and write."""
        after = self._sample(trainer, pl_module)
        if trainer.is_global_zero:
            self._report(trainer, after)

    def state_dict(self) -> dict[str, Any]:
        """Return the samples from before training, and the ids of their prompts."""
        return {"before": self._before, "prompts": self._asked}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the samples from before training."""
        self._before, self._asked = state_dict["before"], state_dict.get("prompts", [])

    def _report(self, trainer: pl.Trainer, after: list[list[str]]) -> None:
        prompts = [self._tokenizer(trainer).decode(ids, skip_special_tokens=True) for ids in self._prompt_ids(trainer)]
        rows = [SampledPrompt(*row) for row in zip(prompts, self._before, after, strict=True)]
        print_samples(rows[: self.shown], self.reward)
        if self.reward is not None:
            rank_zero_info(summarise(rows, self.reward))
        with spared(self.path):
            write_samples(rows, self.reward, self.path)
            rank_zero_info(f"samples in {self.path}")

    def _sample(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> list[list[str]]:
        """Sample on rank 0; with a sharded policy on every rank alike, since all must take part in each forward."""
        policy = cast(Any, pl_module).policy
        if not (trainer.is_global_zero or is_sharded(policy)):
            return []
        return sample_completions(
            policy,
            self._tokenizer(trainer),
            self._prompt_ids(trainer),
            samples_per_prompt=self.samples_per_prompt,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )

    def _prompt_ids(self, trainer: pl.Trainer) -> list[list[int]]:
        different = dict.fromkeys(tuple(ids) for ids in self._data(trainer).prompts("val"))
        return [list(ids) for ids in list(different)[: self.prompts]]

    def _tokenizer(self, trainer: pl.Trainer) -> Any:
        return self._data(trainer).tokenizer

    def _data(self, trainer: pl.Trainer) -> PreferenceSource:
        data = source_of(trainer)
        if data is None:
            raise InputError("SampleTable takes its prompts from a PreferenceDataModule: pass one to fit")
        return data
