"""Places that samples of a run go to: its record, a Markdown file, its loggers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from dpo_lightning.callbacks.record_places import begins_anew, record_of, set_aside
from dpo_lightning.errors import InputError
from dpo_lightning.report.record import RunRecord, add_row, read_rows, write_rows
from dpo_lightning.report.sample_loggers import log_samples
from dpo_lightning.report.samples import SampledPrompt, record_rows, write_samples
from dpo_lightning.utils.files import is_local, spared
from dpo_lightning.utils.text import one_line


class SamplePlaces:
    """Writes samples; what cannot be written costs a line, and not the run.

    Args:
        path: The Markdown file; None for one in the run's directory, and for none where that is no local one.

    Attributes:
        earlier: The record of the run that this one goes on from.
    """

    def __init__(self, path: str | None) -> None:
        self.earlier: str | None = None
        self._path = path
        self._markdown: str | None = None
        self._record: RunRecord | None = None
        self._failed: set[int] = set()

    @property
    def record(self) -> str | None:
        """The file with the rows; None without a run's directory."""
        return None if self._record is None else str(self._record.samples.absolute())

    def keep_earlier_run(self, trainer: pl.Trainer) -> None:
        """Keep what an earlier run has left in the directory of one that begins; every rank must call."""
        record = record_of(trainer)
        if begins_anew(trainer):
            set_aside(trainer, record)

    def begin(self, trainer: pl.Trainer) -> None:
        """Find the run's directory; every rank must call. A resumed run's file begins with what was sampled before."""
        self._failed = set()
        self._record = self._markdown = None
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        directory = str(trainer.log_dir or trainer.default_root_dir)
        self._markdown = self._path or (str(Path(directory, "samples.md")) if is_local(directory) else None)
        self._record = record_of(trainer)
        if trainer.is_global_zero and self._record is not None:
            with spared(self._record.samples):
                self._keep_earlier(self._record.samples, trainer.global_step)

    def _keep_earlier(self, file: Path, step: int) -> None:
        """Let the file begin with the rows up to the checkpoint; without one, with none."""
        kept: list[dict[str, Any]] = []
        if step and self.earlier is not None:
            try:
                kept = [row for row in read_rows(Path(self.earlier)) if row.get("step", step + 1) <= step]
            except InputError as error:
                rank_zero_warn(f"samples of the earlier part of the run are left out: {error}")
        if kept or file.exists():
            write_rows(file, kept)

    def write(self, trainer: pl.Trainer, rows: Sequence[SampledPrompt], step: int) -> None:
        """Write the samples of a step; on rank 0."""
        if self._markdown is not None:
            with spared(self._markdown):
                write_samples(rows, f"Samples before training and after {step} steps", self._markdown)
        if self._record is not None:
            with spared(self._record.samples):
                for row in record_rows(rows, step):
                    add_row(self._record.samples, row)
        for number, logger in enumerate(trainer.loggers):
            self._log(number, logger, rows, step)

    def _log(self, number: int, logger: Any, rows: Sequence[SampledPrompt], step: int) -> None:
        """Log them; a logger that fails is left alone from then on."""
        if number in self._failed:
            return
        try:
            log_samples(logger, rows, step)
        except Exception as error:  # whatever its library raises
            self._failed.add(number)
            rank_zero_warn(
                f"SampleTable: {type(logger).__name__} took no samples ({one_line(error, 160)}): the run goes on, and "
                "gives it none"
            )

    def tell(self) -> None:
        """Say where the samples are."""
        if self._markdown is not None and Path(self._markdown).exists():
            rank_zero_info(f"samples in {self._markdown}")
