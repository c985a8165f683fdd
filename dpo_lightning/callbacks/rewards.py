"""Rewards of `predict` as a file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.batch.tokens import batch_tokens
from dpo_lightning.compat.lightning_loops import evaluated_loaders
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.run import preference_batch_of, source_of
from dpo_lightning.utils.files import from_here, replaced
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.set_names import names_of_sets
from dpo_lightning.utils.trainers import run_directory

_SIDES = ("chosen", "rejected")


class WriteRewards(pl.Callback):
    """Writes one JSON line per predicted pair: `pair_id`, `chosen`, `rejected`, `margin`, in the objective's scale.

    A labelled completion has `pair_id`, `reward`, `desirable`; one row may have several. The texts that the data's
    format names are there by name as `texts`. Where several sets are predicted, `set` has the name of the pair's.

    Args:
        path: The file; null takes `rewards.jsonl` in the directory of the run. With several ranks, each writes its own,
            with its number before the suffix.
        texts: Add prompt and completions to `texts`, as the tokens decode: `prompt`, and `chosen` and `rejected` of a
            pair, or `completion`.

    Example:
        >>> from pathlib import Path
        >>> from lightning.pytorch import Trainer
        >>> from torch.utils.data import DataLoader
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from dpo_lightning import PreferenceModule, TokenizedExample
        >>> from dpo_lightning.batch import collate_padded
        >>> from dpo_lightning.callbacks import WriteRewards
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> data = DataLoader([TokenizedExample.pair(0, [1, 2], [3, 4], [5])], collate_fn=collate_padded)
        >>> trainer = Trainer(logger=False, enable_progress_bar=False, callbacks=[WriteRewards("rewards.jsonl")])
        >>> _ = trainer.predict(PreferenceModule(LlamaForCausalLM(config)), data)
        >>> print(Path("rewards.jsonl").read_text().strip())  # the policy is still its reference
        {"pair_id": 0, "chosen": 0.0, "rejected": 0.0, "margin": 0.0}
    """

    def __init__(self, path: Optional[str] = None, *, texts: bool = False) -> None:
        check_arguments(WriteRewards, locals(), "WriteRewards.")
        self.path = path
        self.texts = texts
        self._rows: list[dict[str, Any]] = []
        self._tokenizer: Any = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find who decodes.

        Raises:
            InputError: where texts are asked for and no DataModule has a tokenizer.
        """
        self._rows = []
        data = source_of(trainer)
        if self.texts and data is None:
            raise InputError(
                "WriteRewards.texts: a PreferenceDataModule has the tokenizer that decodes, and the run has loaders of "
                "its own: leave texts out, or predict with a PreferenceDataModule"
            )
        self._tokenizer = data.tokenizer if self.texts and data is not None else None

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the pairs of the batch.

        Raises:
            InputError: for a prediction that is no dict of columns.
        """
        if not isinstance(outputs, Mapping):
            raise InputError(
                f"WriteRewards writes the columns that PreferenceModule.predict_step returns, and got a "
                f"{type(outputs).__name__}: leave the callback out, or return a dict of tensors"
            )
        names = names_of_sets(*evaluated_loaders(trainer))
        columns = {name: values.tolist() for name, values in outputs.items()}
        rows: list[dict[str, Any]] = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        found = preference_batch_of(pl_module, batch)
        if found is not None and (found.texts or self._tokenizer is not None):
            # Of pairs and of completions alike. Not strict: another module's outputs may be of something else.
            for row, texts in zip(
                rows, _texts(found, self._tokenizer, pairs=len(rows) == found.examples), strict=False
            ):
                row["texts"] = texts
        for row in rows if names else ():
            row["set"] = names[dataloader_idx]
        self._rows += rows

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file.

        Raises:
            RunError: where it cannot be written, such as on a full disk; what was there before, stays.
        """
        path = run_directory(trainer) / "rewards.jsonl" if self.path is None else Path(self.path)
        if trainer.world_size > 1:
            path = path.with_suffix(f".{trainer.global_rank}{path.suffix}")
        try:
            with replaced(path) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in self._rows), encoding="utf-8")
        except OSError as error:
            raise RunError(f"WriteRewards.path {path} could not be written: {error.strerror or error}") from error
        rank_zero_info(f"rewards of {len(self._rows)} pairs in {shlex.quote(from_here(path))}")
        self._rows = []


def _texts(batch: PreferenceBatch, tokenizer: Any, *, pairs: bool) -> Iterator[dict[str, str]]:
    """Yield the texts of each row: of an example, or of a completion where there is a row for each.

    Args:
        batch: The batch.
        tokenizer: Decodes prompt and completions; None leaves them out.
        pairs: Whether there is a row for each example.
    """
    tokens = None if tokenizer is None else batch_tokens(batch)
    seen = [0] * batch.examples
    for example in batch.example_of_sequence.tolist():
        own: dict[str, str] = {}
        if tokens is not None:
            prompt, completions = tokens[example]
            parts = completions if pairs else completions[seen[example] : seen[example] + 1]
            names = _SIDES if len(parts) == len(_SIDES) else ("completion",)
            decoded = [tokenizer.decode(ids) for ids in (prompt, *parts)]
            own = dict(zip(("prompt", *names), decoded, strict=False))
        seen[example] += 1
        yield {**own, **{name: values[example] for name, values in batch.texts.items()}}
