"""A fit without a model that computes: what the loop, the callbacks and the loss of a step cost the host."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.profilers import Profiler
from torch.utils.data import DataLoader, Dataset

from benchmarks.host_launches import Launches, launches_ms
from benchmarks.host_stubs import Shape, small_llama, unscored
from dpo_lightning import PreferenceModule
from dpo_lightning.batch import collate_tree, first_completions
from dpo_lightning.data.dataset import ExampleDataset

_WARMUP = 5

# The rest of a step is Lightning's own, and that of the last entry: kernels, which a GPU runs behind its launches.
_PARTS = {
    "loader": ("train_dataloader_next",),
    "training_step": (".training_step",),
    "guard": ("[Callback]UpdateGuard",),
    "resume": ("[Callback]FirstCallback", "[Callback]LastCallback", "[Callback]ExactResume"),
    "callbacks": ("[Callback]",),
    "backward and optimizer": (".backward", ".optimizer_step", ".optimizer_zero_grad", "gradient_clipping"),
}

_NO_LAUNCHES = ("loader", "backward and optimizer")  # on the host in any case; and no part of the sum


class ProcessProfiler(Profiler):
    """Process time of each of Lightning's actions, step by step, without that of the actions within it."""

    def __init__(self) -> None:
        super().__init__()
        self._running: list[list[Any]] = []
        self._step: dict[str, float] = defaultdict(float)
        self.steps: list[dict[str, float]] = []

    def part(self) -> str:
        """Name the part of a step that is running."""
        return (self._running and _part_of(self._running[-1][0])) or "Lightning"

    def start(self, action_name: str) -> None:
        """Start the clock of an action."""
        self._running.append([action_name, time.process_time(), 0.0])

    def stop(self, action_name: str) -> None:
        """Stop the clock of the action that was started last."""
        if not self._running or self._running[-1][0] != action_name:
            return
        _, begun, within = self._running.pop()
        took = time.process_time() - begun
        self._step[action_name] += took - within
        if self._running:
            self._running[-1][2] += took

    def end_step(self) -> None:
        """Keep the figures of a step, and begin the next."""
        self.steps.append(dict(self._step))
        self._step.clear()


class Ends(pl.Callback):
    """The process time at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *arguments: Any) -> None:
        """End the step."""
        self.ends.append(time.process_time())


class Steps(pl.Callback):
    """Ends the steps of a profiler, and notes the operations on tensors of one more behind them.

    Args:
        profiler: Told of each end.
        steps: How many are timed.
    """

    def __init__(self, profiler: ProcessProfiler, steps: int) -> None:
        self.profiler = profiler
        self.launches = Launches(profiler.part)
        self._steps = steps

    def on_train_batch_end(self, *arguments: Any) -> None:
        """End the step."""
        self.profiler.end_step()
        if len(self.profiler.steps) == self._steps:
            self.launches.__enter__()
        elif len(self.profiler.steps) == self._steps + 1:  # the last step of a run logs, and is none of these
            self.launches.__exit__(None, None, None)


class Repeated(Dataset[Any]):
    """Rows again and again, read as the loader of a DataModule reads them.

    Args:
        rows: The rows.
        times: How often.
    """

    def __init__(self, rows: ExampleDataset, times: int) -> None:
        self.rows = rows
        self.times = times

    def __len__(self) -> int:
        return len(self.rows) * self.times

    def __getitems__(self, indices: list[int]) -> Any:
        """Read a batch."""
        count = len(self.rows)
        return self.rows.in_arrays([index % count for index in indices])


def loop_parts(shape: Shape, rows: ExampleDataset, steps: int) -> dict[str, float]:
    """Process time of the parts of a fit's step, ms, the median over its steps.

    The whole step is that of a second fit: a step has more than a hundred of Lightning's marks, and at each somebody
    reads the clock, which nobody does in a run without a profiler.
    """
    profiler, ends = ProcessProfiler(), Ends()
    marked = Steps(profiler, _WARMUP + steps)
    _fit(shape, rows, _WARMUP + steps + 2, callbacks=[marked], profiler=profiler)
    _fit(shape, rows, _WARMUP + steps + 2, callbacks=[ends])
    whole = statistics.median(end - begun for begun, end in pairwise(ends.ends[_WARMUP - 1 : _WARMUP + steps])) * 1e3
    parts = by_part(profiler.steps[_WARMUP : _WARMUP + steps])
    launched = [each for each in marked.launches.operations if each.part not in _NO_LAUNCHES]
    return {
        **parts,
        "Lightning": whole - sum(parts.values()),
        "launches of the loop": launches_ms(launched, steps),
        "launched by the loop": len(launched),
    }


def _fit(shape: Shape, rows: ExampleDataset, steps: int, **settings: Any) -> None:
    """Fit a model without kernels."""
    collate = first_completions(collate_tree, 2)
    loader = DataLoader(Repeated(rows, steps), batch_size=shape.pairs, collate_fn=collate)
    with tempfile.TemporaryDirectory() as directory, unscored():
        trainer = pl.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=directory,
            **settings,
        )
        trainer.fit(PreferenceModule(small_llama(shape.layers)), loader)


def _part_of(action: str) -> str | None:
    return next((name for name, marks in _PARTS.items() if any(mark in action for mark in marks)), None)


def by_part(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median time of each part in ms, of the seconds of actions; an action is of the first part that names it."""
    found = {name: [0.0] * len(steps) for name in _PARTS}
    for place, step in enumerate(steps):
        for action, took in step.items():
            name = _part_of(action)
            if name is not None and "Steps" not in action:
                found[name][place] += took * 1e3
    return {name: statistics.median(each) for name, each in found.items()}
