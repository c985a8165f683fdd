"""The progress of a run: one line that stays in its place in a terminal, a line each interval in a file."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Optional

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.live import Live
from rich.text import Text

from dpo_lightning.compat.lightning_loops import logs_this_step
from dpo_lightning.report.progress_line import Progress, fitted_line, plain_line
from dpo_lightning.training.schedules import optimizer_steps
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.logs import handlers_follow

_INTERVAL = 0.2  # seconds between two drawings
_QUIET = 10.0  # seconds of other work after which a file gets a line


class ProgressLine(ProgressBar):
    """Shows how far the run is: a line at the bottom of a terminal, or a line each `log_every_n_steps` in a file.

    It goes to the standard error stream, beside the messages of the run. In a terminal the line has always one row,
    whatever the width, and what is printed meanwhile stands above it. Where the stream is none, as under `nohup`, in a
    pipe or a notebook, each interval of `log_every_n_steps` and each validation is a line of its own. It shows what is
    logged with `prog_bar=True`, and counts optimizer steps; reads values from the device when the Trainer logs only.

    The command adds it where the config names no other progress bar.

    Args:
        shown: Names of the values that are shown, as they are logged; all of them where it is left out.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dpo_lightning.callbacks import ProgressLine
        >>> trainer = Trainer(max_steps=100, logger=False, callbacks=[ProgressLine()])
        >>> type(trainer.progress_bar_callback).__name__
        'ProgressLine'
    """

    def __init__(self, shown: Optional[list[str]] = None) -> None:
        check_arguments(ProgressLine, locals(), "ProgressLine.")
        super().__init__()
        self.shown = shown
        self._enabled = True
        self._opened = ExitStack()
        self._live: Live | None = None
        self._values: Mapping[str, float] = {}
        self._training: _Loop | None = None
        self._evaluation: _Loop | None = None
        self._drawn = 0.0

    @property
    def is_enabled(self) -> bool:
        """True where the progress is shown: `LightningModule.print` asks."""
        return self._enabled

    def enable(self) -> None:
        """Show the progress."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing, as on all ranks but the first."""
        self._enabled = False
        self._close()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin at the step that the run goes on from."""
        whole = optimizer_steps(trainer) if pl_module.automatic_optimization else math.inf
        self._training = _Loop("step", None if math.isinf(whole) else int(whole), trainer.global_step)
        self._open()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on; take the values of a step that is logged."""
        if not self._enabled or self._training is None:
            return
        moved = trainer.global_step != self._training.done
        self._training.done = trainer.global_step
        if moved and logs_this_step(trainer):
            self._values = self._shown(trainer)
            self._write(trainer)
        self._draw()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the line away: what others say at the end stands where it was."""
        self._training = None
        self._close()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the batches of all loaders."""
        if trainer.sanity_checking:
            self._evaluate("check", trainer.num_sanity_val_batches)
        else:
            self._evaluate("validation", trainer.num_val_batches)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count alike."""
        self._evaluate("test", trainer.num_test_batches)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count alike."""
        self._evaluate("prediction", trainer.num_predict_batches)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Move on."""
        self._evaluated()

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Move on."""
        self._evaluated()

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Move on."""
        self._evaluated()

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave nothing: the values of the check are none of the run."""
        self._evaluation = None
        self._close()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the values of the validation; in a file they are a line."""
        if not trainer.sanity_checking:
            self._end_evaluation(trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End alike."""
        self._end_evaluation(trainer)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End alike."""
        self._end_evaluation(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Take the line away before the error is printed."""
        self._forget()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the line away, however the run ended."""
        self._forget()

    @contextmanager
    def working(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show other work than the loops' inside the block, such as a callback's; yields what says how much is done.

        Args:
            what: Word for the work.
            total: All that is to do, in any unit.
        """
        before, work = self._evaluation, _Loop(what, total)
        self._evaluation = work
        self._open()

        def advance(count: int) -> None:
            work.done += count
            self._draw()
            if self._enabled and self._live is None and time.monotonic() - self._drawn >= _QUIET:
                self._drawn = time.monotonic()
                self._say(plain_line(work.progress("", {})))

        self._drawn = time.monotonic()
        try:
            yield advance
        finally:
            self._evaluation = before
            if before is None and self._training is None:
                self._close()

    def _forget(self) -> None:
        self._training = self._evaluation = None
        self._values = {}
        self._close()

    def _shown(self, trainer: pl.Trainer) -> dict[str, float]:
        values = trainer.progress_bar_metrics
        return {name: float(value) for name, value in values.items() if self.shown is None or name in self.shown}

    def _evaluate(self, what: str, batches: list[int | float]) -> None:
        whole = sum(batches)
        self._evaluation = _Loop(what, None if math.isinf(whole) else int(whole))
        self._open()

    def _evaluated(self) -> None:
        if self._enabled and self._evaluation is not None:
            self._evaluation.done += 1
            self._draw()

    def _end_evaluation(self, trainer: pl.Trainer) -> None:
        """Take the values of a validation beside those of the training; in a file they are a line."""
        ended, self._evaluation = self._evaluation, None
        if self._training is None:
            self._close()
        elif self._enabled and ended is not None:
            shown = self._shown(trainer)
            own = {name: shown[name] for name in shown if name.startswith("val") or name not in self._values}
            self._values = {**self._values, **shown}
            if self._live is None:
                self._say(plain_line(ended.progress("", own)))

    def _open(self) -> None:
        """Begin the line at the bottom, where there is a terminal that has one."""
        plain: Any = {"soft_wrap": True, "markup": False, "emoji": False, "highlight": False}
        console = Console(stderr=True, force_jupyter=False, **plain)  # what others print is shown as it is
        terminal = sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal
        if not self._enabled or self._live is not None or not terminal:
            return
        self._live = Live(
            get_renderable=self._line,
            console=console,
            auto_refresh=False,  # a thread that draws would be forked into loaders' processes with its lock held
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._drawn = 0.0  # what comes first is seen at once
        before = (sys.stdout, sys.stderr)
        self._opened.enter_context(self._live)
        self._opened.enter_context(handlers_follow(dict(zip(before, (sys.stdout, sys.stderr), strict=True))))

    def _close(self) -> None:
        self._opened.close()
        self._live = None

    def _draw(self) -> None:
        now = time.monotonic()
        if self._live is not None and now - self._drawn >= _INTERVAL:
            self._drawn = now
            self._live.refresh()

    def _line(self) -> Text:
        loop = self._evaluation or self._training
        if loop is None or self._live is None:
            return Text()
        console = self._live.console
        cells = "━─" if console.encoding.startswith("utf") else "=-"
        width = console.width - 1  # a full row wraps in some terminals
        epoch = "" if self._training is None else _epoch(self.trainer)
        return Text(fitted_line(loop.progress(epoch, self._values), width, cells), no_wrap=True)

    def _write(self, trainer: pl.Trainer) -> None:
        """Write a line of the training to a stream that is no terminal."""
        if self._live is None and self._training is not None:
            rate = {f"lr{number or ''}": each for number, each in enumerate(_rates(trainer))}
            self._say(plain_line(self._training.progress(_epoch(trainer), {**self._values, **rate})))

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class _Loop:
    """A loop that is running: what is done of it, since when."""

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        self.what, self.total, self.done = what, total, done
        self._first, self._began = done, time.monotonic()

    def progress(self, epoch: str, values: Mapping[str, float]) -> Progress:
        """Return the position; the time that is left is that of the steps so far, validations included."""
        elapsed = time.monotonic() - self._began
        total = self.total if self.total is not None and self.total >= self.done else None
        own = self.done - self._first
        left = elapsed / own * (total - self.done) if total is not None and own and self.done < total else None
        return Progress(self.what, self.done, total, epoch, values, elapsed, left)


def _epoch(trainer: pl.Trainer) -> str:
    """Return the epoch in words where there is more than one."""
    if trainer.max_epochs == 1:
        return ""
    last = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{last}"


def _rates(trainer: pl.Trainer) -> list[float]:
    """Return the learning rates of all optimizers that have one; of several groups the first one's."""
    rates = (optimizer.param_groups[0].get("lr") for optimizer in trainer.optimizers)
    return [float(rate) for rate in rates if rate is not None]
