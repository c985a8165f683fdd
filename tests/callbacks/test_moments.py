"""What is told of a moment before others are, and when an optimizer is at the weights."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from dpo_lightning.callbacks import EMAReference, ExactResume
from dpo_lightning.callbacks.moments import FirstCallback, UpdateWatch, callback_states
from tests.helpers.runs import data, module, trainer


def test_an_optimizer_is_at_the_weights_once_its_closure_has_returned():
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    watch, seen = UpdateWatch(), []
    watch.begin([optimizer])

    def closure() -> Any:
        seen.append(watch.updating)
        return (weight * 2).sum()

    optimizer.step(closure=closure)
    assert seen == [False]
    assert watch.updating
    watch.updating = False
    optimizer.step()
    assert watch.updating


def test_nothing_is_watched_after_the_end():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    watch = UpdateWatch()
    watch.begin([optimizer])
    watch.end()
    optimizer.step()
    assert not watch.updating


def test_the_bookkeeping_is_told_first_and_once_in_every_fit(tmp_path):
    class Mine(pl.Callback):
        """Stands before what the module adds."""

    run = trainer(callbacks=[Mine(), EMAReference(0.5)], max_steps=1)
    for _ in range(2):
        run.fit(module(), data(tmp_path))
        kinds = [type(callback) for callback in run.callbacks]  # type: ignore[attr-defined]
        assert kinds[:3] == [FirstCallback, EMAReference, Mine]
        assert kinds.count(FirstCallback) == kinds.count(ExactResume) == 1


def test_states_are_those_of_now():
    class Counts(pl.Callback):
        def __init__(self) -> None:
            self.counts = {"seen": [1], "tensor": torch.ones(2)}

        def state_dict(self) -> dict[str, Any]:
            return self.counts

    counting = Counts()
    states = callback_states([counting, EMAReference(0.5)])
    counting.counts["seen"].append(2)
    assert list(states) == [counting.state_key]
    assert states[counting.state_key]["seen"] == [1]
    assert states[counting.state_key]["tensor"] is counting.counts["tensor"]
