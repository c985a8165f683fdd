"""The counters of Lightning's loops are those that it saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from dpo_lightning.compat.lightning_counters import counters_of, level
from tests.helpers.runs import data, module, trainer


class Compares(pl.Callback):
    """Keeps what Lightning saves of its loops, and what is found, at several moments."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def _look(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append((trainer.fit_loop.state_dict(), counters_of(trainer.fit_loop)))

    on_train_batch_start = on_train_batch_end = on_validation_end = on_train_epoch_end = _look  # type: ignore[assignment]


def test_counters_are_what_lightning_saves(tmp_path: Path) -> None:
    compares = Compares()
    run = trainer(callbacks=[compares], max_steps=-1, max_epochs=2, accumulate_grad_batches=2)
    run.fit(module(), data(tmp_path))
    assert len(compares.seen) > 10
    for theirs, ours in compares.seen:
        assert ours == theirs
        assert list(ours) == list(theirs)
    assert len({str(theirs) for theirs, _ in compares.seen}) == len(compares.seen)  # each moment has its own


def test_counters_are_of_their_moment(tmp_path: Path) -> None:
    run = trainer(max_steps=1)
    before = counters_of(run.fit_loop)
    run.fit(module(), data(tmp_path))
    assert before["epoch_loop.batch_progress"]["total"]["ready"] == 0
    assert counters_of(run.fit_loop)["epoch_loop.batch_progress"]["total"]["ready"] == 1


def test_a_tracker_is_levelled() -> None:
    tracker = {"ready": 3, "started": 3, "completed": 2}
    level(tracker, 2)
    assert tracker == {"ready": 2, "started": 2, "completed": 2}
