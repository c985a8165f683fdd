"""Rewards of `predict` as a file."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Optional

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.batch.tokens import batch_tokens
from dpo_lightning.callbacks.token_rows import rows_of_columns, token_rows, token_types
from dpo_lightning.compat.lightning_loops import evaluated_loaders
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.run import preference_batch_of, run_of, source_of
from dpo_lightning.utils.files import from_here
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.row_files import RowFile, new_rows, row_file
from dpo_lightning.utils.set_names import names_of_sets
from dpo_lightning.utils.trainers import run_directory

_SIDES = ("chosen", "rejected")


class WriteRewards(pl.Callback):
    """Writes one row per predicted pair: `pair_id`, `chosen`, `rejected`, `margin`, in the objective's scale.

    A labelled completion has `pair_id`, `reward`, `desirable`; one row may have several. The texts that the data's
    format names are there by name as `texts`. Where several sets are predicted, `set` has the name of the pair's.

    The rows go to disk as they come, and the file takes its name at the end.

    Args:
        path: The file, JSON lines or Parquet by its suffix, `.jsonl` or `.parquet`; null takes `rewards.jsonl` in the
            directory of the run. With several ranks, each writes its own, with its number before the suffix.
        texts: Add prompt and completions to `texts`, as the tokens decode: `prompt`, and `chosen` and `rejected` of a
            pair, or `completion`. In Parquet they are columns, such as `texts.prompt`.
        tokens: Write a row for each completion, with `completion`, its place in the data's row (0 is a pair's chosen
            one), its `reward`, and lists with a value of each scored token: `token_ids`, `tokens` (their texts, where a
            DataModule has the tokenizer), `policy_logps` and `reference_logps` in nats, and `credit`, the token's share
            of the reward: beta times its log-ratio, or what the objective makes of it; they sum to the reward. Refused
            where a reward is no sum over tokens, as those of ORPO, AlphaPO and ChiPO.

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

    def __init__(self, path: Optional[str] = None, *, texts: bool = False, tokens: bool = False) -> None:
        check_arguments(WriteRewards, locals(), "WriteRewards.")
        if path is not None:
            row_file("WriteRewards.path", path)
        self.path = path
        self.texts = texts
        self.tokens = tokens
        self._open = ExitStack()
        self._file: Optional[RowFile] = None
        self._written = 0
        self._tokenizer: Any = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find who decodes, and open the file.

        Raises:
            InputError: where texts are asked for and no DataModule has a tokenizer, and where tokens are asked of a
                module that has no objective.
            RunError: where the file cannot be written.
        """
        data = source_of(trainer)
        if self.texts and data is None:
            raise InputError(
                "WriteRewards.texts: a PreferenceDataModule has the tokenizer that decodes, and the run has loaders of "
                "its own: leave texts out, or predict with a PreferenceDataModule"
            )
        if self.tokens:
            run_of(pl_module, "WriteRewards.tokens")
        self._tokenizer = data.tokenizer if (self.texts or self.tokens) and data is not None else None
        self._written = 0
        self._writing(trainer, lambda: self._begin(self._place(trainer)))

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the pairs of the batch.

        Raises:
            InputError: for a prediction that is no dict of columns, and for a reward that is no sum over tokens.
            RunError: where they cannot be written, such as on a full disk.
        """
        if not isinstance(outputs, Mapping):
            raise InputError(
                f"WriteRewards writes the columns that PreferenceModule.predict_step returns, and got a "
                f"{type(outputs).__name__}: leave the callback out, or return a dict of tensors"
            )
        names = names_of_sets(*evaluated_loaders(trainer))
        found = preference_batch_of(pl_module, batch)
        rows = self._rows(pl_module, found, outputs)
        for row in rows if names else ():
            row["set"] = names[dataloader_idx]
        self._writing(trainer, lambda: self._add(rows))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the file its name.

        Raises:
            RunError: where it cannot be written, such as on a full disk; what was there before, stays.
        """
        self._writing(trainer, self._open.close)
        what = "completions, token by token," if self.tokens else "pairs"
        rank_zero_info(f"rewards of {self._written} {what} in {shlex.quote(from_here(self._place(trainer)))}")
        if self.tokens and self._tokenizer is None:
            rank_zero_info("no texts of tokens beside their ids: the run has loaders of its own, and no tokenizer")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave nothing half-written: what was there before, stays."""
        self._leave(exception)

    def _rows(
        self, pl_module: pl.LightningModule, batch: Optional[PreferenceBatch], outputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        if self.tokens and batch is None:
            raise InputError("WriteRewards.tokens: no preference batch is in a batch of the run: leave tokens out")
        if self.tokens and batch is not None:
            rows = token_rows(run_of(pl_module, "WriteRewards.tokens"), batch, outputs, self._tokenizer)
        else:
            rows = [*rows_of_columns(outputs)]
        decodes = self._tokenizer if self.texts else None
        if batch is not None and (batch.texts or decodes is not None):
            # Of pairs and of completions alike. Not strict: another module's outputs may be of something else.
            texts = _texts(batch, decodes, pairs=not self.tokens and len(rows) == batch.examples)
            in_order = sorted(texts, key=lambda each: each[0]) if self.tokens else texts
            for row, (_, own) in zip(rows, in_order, strict=False):
                row["texts"] = own
        return rows

    def _place(self, trainer: pl.Trainer) -> Path:
        path = run_directory(trainer) / "rewards.jsonl" if self.path is None else Path(self.path)
        return path.with_suffix(f".{trainer.global_rank}{path.suffix}") if trainer.world_size > 1 else path

    def _begin(self, path: Path) -> None:
        self._open = ExitStack()
        types = token_types() if self.tokens else {}
        self._file = self._open.enter_context(new_rows("WriteRewards.path", path, types))

    def _add(self, rows: list[dict[str, Any]]) -> None:
        assert self._file is not None
        self._file.add(rows)
        self._written += len(rows)

    def _writing(self, trainer: pl.Trainer, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self._leave(error)
            path = self._place(trainer)
            raise RunError(f"WriteRewards.path {path} could not be written: {error.strerror or error}") from error

    def _leave(self, error: BaseException) -> None:
        """Let go of a file that is not whole."""
        with suppress(BaseException):  # the error itself, once more
            self._open.__exit__(type(error), error, error.__traceback__)


def _texts(batch: PreferenceBatch, tokenizer: Any, *, pairs: bool) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the texts of each row, behind its example: of an example, or of a completion where there is a row for each.

    Args:
        batch: The batch.
        tokenizer: Decodes prompt and completions; None leaves them out.
        pairs: Whether there is a row for each example.
    """
    tokens = None if tokenizer is None else batch_tokens(batch)
    seen = [0] * batch.examples
    for example in batch.example_of_sequence[: sum(batch.completions)].tolist():
        own: dict[str, str] = {}
        if tokens is not None:
            prompt, completions = tokens[example]
            parts = completions if pairs else completions[seen[example] : seen[example] + 1]
            names = _SIDES if len(parts) == len(_SIDES) else ("completion",)
            decoded = [tokenizer.decode(ids) for ids in (prompt, *parts)]
            own = dict(zip(("prompt", *names), decoded, strict=False))
        seen[example] += 1
        yield example, {**own, **{name: values[example] for name, values in batch.texts.items()}}
