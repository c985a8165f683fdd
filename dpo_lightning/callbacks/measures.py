"""Cost and speed of a run, in its log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from dpo_lightning.callbacks.run_cost import peak_of
from dpo_lightning.compat.lightning_loops import logs_this_step
from dpo_lightning.compat.lightning_steps import epochs_begun, logged_step
from dpo_lightning.errors import InputError
from dpo_lightning.estimate.counts import Counts
from dpo_lightning.estimate.memory import State
from dpo_lightning.estimate.shape import ModelShape, shape_of
from dpo_lightning.estimate.step import step_flops
from dpo_lightning.run import PreferenceRun, forget_batch, preference_batch_of, reference_in_the_step
from dpo_lightning.training.logging import ends_here, means_of
from dpo_lightning.utils.memory import peak_memory
from dpo_lightning.utils.ranks import data_ranks, sum_over_ranks

_GIB = 2**30


class Measures(pl.Callback):
    """Logs learning rate, throughput, time and memory at the interval of `log_every_n_steps`; every run has it.

    All names begin with `train/` (`docs/metrics.md`): `lr`, `pairs_per_second`, `tokens_per_second`, `seconds`,
    `memory_gib`, `mfu` and `epoch_fraction`. What a batch holds is counted on the host, or added up on the device;
    nothing waits for the device but the log, whose counts are one small sum over ranks. Throughput is of the steps
    since the last log, of all ranks and of this process: a resumed run begins to count anew. The time of validations,
    of saving and of `SampleTable` is left out.

    At the end of a run, loggers get the rest of an interval that is not full, so that a short run has values too.

    A LightningModule of one's own that is no `PreferenceModule` can have it among the Trainer's callbacks.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dpo_lightning.callbacks import Measures
        >>> trainer = Trainer(max_steps=100, logger=False, enable_progress_bar=False, callbacks=[Measures()])
    """

    def __init__(self) -> None:
        self._clock = _Clock()
        self._since = Counts()
        self._batches = 0
        self._from = 0.0
        self._is_shown = False
        self._epoch = 0
        self._operations: _Operations | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._clock = _Clock()
        self._begin_interval()
        self._operations = _Operations.of(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count what the batch holds; of a batch without preferences, its time alone."""
        self._clock.go_on()
        self._batches += 1
        with suppress(InputError):  # which the training step raises with its own place
            own = preference_batch_of(pl_module, batch)
            if own is not None:
                self._since = self._since.plus(Counts.of(own))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Log the interval where it ends; at the end of an epoch or the run show callbacks what there is of it."""
        due = logs_this_step(trainer)
        self._is_shown, self._epoch = due or ends_here(pl_module), trainer.current_epoch
        if trainer.barebones or not self._batches or not self._is_shown:
            return
        values = {**_rates(trainer), **self._measured(trainer)}
        pl_module.log_dict({f"train/{name}": value for name, value in values.items()}, rank_zero_only=True)
        if due:
            self._begin_interval()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let go of the batch; other callbacks of every run had it before."""
        forget_batch(pl_module)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Let go of the batch."""
        forget_batch(pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let go of the last batch of any loop."""
        forget_batch(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._clock.stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on."""
        self._clock.go_on()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stop the clock until the next batch."""
        self._clock.stop()

    @contextmanager
    def not_counted(self) -> Iterator[None]:
        """Stop the clock inside the block."""
        self._clock.stop()
        try:
            yield
        finally:
            self._clock.go_on()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the rest of an interval that is not full."""
        if trainer.barebones or not self._batches or not trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        values = self._rest(trainer.callback_metrics, pl_module)
        for logger in trainer.loggers if values else ():
            logger.log_metrics({**values, "epoch": self._epoch}, step=logged_step(trainer))
            logger.save()

    def _begin_interval(self) -> None:
        self._since, self._batches, self._from = Counts(), 0, self._clock.seconds()

    def _measured(self, trainer: pl.Trainer) -> dict[str, float]:
        """Return what is known of the interval; every rank must call."""
        device = trainer.strategy.root_device
        counts, peak = _over_ranks(self._since, peak_memory(device), trainer)
        seconds = self._clock.seconds()
        duration = seconds - self._from
        values = {"seconds": seconds, "memory_gib": peak and peak / _GIB, "epoch_fraction": epochs_begun(trainer)}
        if counts.examples and duration > 0:
            values["pairs_per_second"] = counts.examples / duration
            values["tokens_per_second"] = float(counts.tokens) / duration
            if self._operations is not None:
                values["mfu"] = (
                    self._operations.of_counts(counts) / duration / self._operations.peak / trainer.world_size
                )
        return {name: value for name, value in values.items() if value is not None}

    def _rest(self, shown: Mapping[str, Tensor], pl_module: pl.LightningModule) -> dict[str, float]:
        """Return the means since the last log, with what the last step has shown beside them; all ranks must call."""
        means: dict[str, Tensor] = {}
        if isinstance(pl_module, PreferenceRun):
            metrics: Any = pl_module.step_metrics()["train_metrics"]
            means = {f"train/{name}": value for name, value in means_of(metrics).items()}
            shown = {name: value for name, value in shown.items() if name.removeprefix("train/") not in metrics.names}
        beside = {name: value for name, value in shown.items() if name.startswith("train/")} if self._is_shown else {}
        return {name: float(value) for name, value in {**means, **beside}.items()}


@contextmanager
def not_counted(trainer: pl.Trainer) -> Iterator[None]:
    """Let the time of a block be none of a run's throughput."""
    with ExitStack() as stack:
        for each in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(each, Measures):
                stack.enter_context(each.not_counted())
        yield


class _Clock:
    """Seconds since it was made, without those in which it stood."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._stopped: float | None = None

    def seconds(self) -> float:
        """Return them up to now."""
        return (time.perf_counter() if self._stopped is None else self._stopped) - self._began

    def stop(self) -> None:
        """Stand."""
        if self._stopped is None:
            self._stopped = time.perf_counter()

    def go_on(self) -> None:
        """Run again."""
        if self._stopped is not None:
            self._began += time.perf_counter() - self._stopped
            self._stopped = None


class _Operations(NamedTuple):
    """Operations of a step, and those that its device could do.

    Recomputed activations are left out, as in the model FLOPs utilisation of arXiv:2204.02311, appendix B.
    """

    shape: ModelShape
    reference_forward: bool
    peak: float

    @classmethod
    def of(cls, trainer: pl.Trainer, pl_module: pl.LightningModule) -> _Operations | None:
        """Return those of a run; None where device or model are not known."""
        if not isinstance(pl_module, PreferenceRun) or (peak := peak_of(trainer)) is None:
            return None
        shape = shape_of(pl_module.policy)
        return None if shape is None else cls(shape, reference_in_the_step(pl_module), peak)

    def of_counts(self, counts: Counts) -> float:
        """Return the operations for batches that held so much."""
        state = State(0, 0, 0.0, checkpointing=False)
        return step_flops(self.shape, counts, state, reference_forward=self.reference_forward)


def _over_ranks(counts: Counts, peak: float | None, trainer: pl.Trainer) -> tuple[Counts, float | None]:
    """Return the sum of the counts, each batch once, and the largest peak; every rank must call.

    One sum over ranks, in which each has a row of its own.
    """
    rows = torch.zeros(trainer.world_size, 5, device=trainer.strategy.root_device)
    for column, value in enumerate((*counts, -1.0 if peak is None else peak)):
        rows[trainer.global_rank, column] = value
    table = sum_over_ranks(rows).cpu().double()
    alike = trainer.world_size / data_ranks(trainer).world_size  # ranks that have the same batches
    examples, tokens, scored, attended, _ = (table.sum(0) / alike).tolist()
    largest = table[:, -1].max().item()
    return Counts(round(examples), tokens, round(scored), attended), None if largest < 0 else largest


def _rates(trainer: pl.Trainer) -> dict[str, float]:
    """Return the learning rate as `lr`; of groups with several the first one's, and the others as `lr_<group>`.

    A group without a name has its number, and so has, behind its name, a group whose name an earlier one has. A group
    whose optimizer finds its own steps may have no rate, as Adafactor's, and is left out.
    """
    groups = [group for each in trainer.optimizers for group in each.param_groups if group.get("lr") is not None]
    names: list[str] = []
    for number, group in enumerate(groups, 1):
        name = str(group.get("name", number))
        names.append(f"{name}_{number}" if name in names else name)
    rates = [float(group["lr"]) for group in groups]
    of_groups = {(rate, group.get("initial_lr")) for rate, group in zip(rates, groups, strict=True)}
    others = {f"lr_{name}": rate for name, rate in zip(names[1:], rates[1:], strict=True)}
    return {**({"lr": rates[0]} if rates else {}), **(others if len(of_groups) > 1 else {})}
