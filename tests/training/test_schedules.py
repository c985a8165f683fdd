"""Learning-rate factors by hand."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import SGD

from dpo_lightning.errors import InputError
from dpo_lightning.training.schedules import Constant, Cosine, Linear, Schedule, optimizer_steps
from tests.helpers.runs import fit, module, trainer

LR = 8.0


def optimizer() -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


def factors(schedule: Schedule, total_steps: float, steps: int) -> list[float]:
    """The factor on the learning rate at each of the first steps."""
    sgd = optimizer()
    scheduler = schedule(sgd, total_steps)
    seen = []
    for _ in range(steps):
        seen.append(sgd.param_groups[0]["lr"] / LR)
        sgd.step()
        if scheduler is not None:
            scheduler.step()
    return seen


def test_constant() -> None:
    assert factors(Constant(), math.inf, 3) == [1.0, 1.0, 1.0]


def test_constant_makes_no_scheduler_so_that_parameters_may_be_added_later() -> None:
    assert Constant()(optimizer(), 10) is None
    assert Constant(warmup=1)(optimizer(), 10) is not None


def test_constant_with_warmup() -> None:
    # (step + 1) / (3 + 1) until it is 1.
    assert factors(Constant(warmup=3), math.inf, 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_linear() -> None:
    # Warm-up of 2: 1/3, 2/3; then 1 - (step - 2) / 8, and 0 past the end.
    expected = [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0, 0]

    assert factors(Linear(warmup=2), 10, 12) == pytest.approx(expected)


def test_linear_with_a_floor() -> None:
    # 1 - (1 - 0.2) progress, at the progress 0, 1/4, 1/2, 3/4 and 1.
    assert factors(Linear(warmup=0, floor=0.2), 4, 6) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_cosine() -> None:
    # Warm-up of 2, then (1 + cos(pi progress)) / 2 at the progress 0, 1/8, ..., 1.
    middle = [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(9)]
    seen = factors(Cosine(warmup=2), 10, 12)

    assert seen == pytest.approx([1 / 3, 2 / 3, *middle, 0])
    assert seen[6] == pytest.approx(0.5)  # half-way from the warm-up to the end


def test_cosine_with_a_floor() -> None:
    # 0.2 + 0.8 x (1, (1 + cos(pi / 4)) / 2, 1/2, ..., 0).
    quarter = 0.2 + 0.4 * (1 + math.sqrt(0.5))

    seen = factors(Cosine(warmup=0, floor=0.2), 4, 6)

    assert seen == pytest.approx([1, quarter, 0.6, 1.2 - quarter, 0.2, 0.2])


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_warmup_as_a_fraction_is_that_many_steps(kind: Callable[..., Schedule]) -> None:
    assert factors(kind(warmup=0.2), 10, 11) == factors(kind(warmup=2), 10, 11)
    assert factors(kind(warmup=0.11), 10, 11) == factors(kind(warmup=2), 10, 11)  # rounded up
    assert factors(Constant(warmup=0.2), 10, 5) == factors(Constant(warmup=2), 10, 5)


@pytest.mark.parametrize("kind", [Constant, Linear, Cosine])
def test_a_warmup_that_the_run_does_not_reach_the_end_of_is_named(kind: Callable[..., Schedule]) -> None:
    with pytest.warns(
        UserWarning, match=r"^schedule.warmup: 5 steps, and the run has 5: the full learning rate is never"
    ):
        kind(warmup=5)(optimizer(), 5)
    kind(warmup=4)(optimizer(), 5)


@pytest.mark.filterwarnings("ignore:schedule.warmup")
def test_a_warmup_longer_than_the_run_rises_to_its_end() -> None:
    seen = factors(Linear(warmup=10), 4, 4)

    assert seen == pytest.approx([1 / 11, 2 / 11, 3 / 11, 4 / 11])


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_a_fall_needs_an_end(kind: Callable[..., Schedule]) -> None:
    with pytest.raises(InputError, match=rf"^schedule {kind.__name__} needs an end: set trainer\.max_steps"):
        kind(warmup=3)(optimizer(), math.inf)


@pytest.mark.parametrize("kind", [Constant, Linear, Cosine])
def test_a_fraction_needs_an_end(kind: Callable[..., Schedule]) -> None:
    with pytest.raises(InputError, match=r"^schedule\.warmup: a fraction of an endless run"):
        kind(warmup=0.1)(optimizer(), math.inf)


@pytest.mark.parametrize("warmup", [-1, -0.1, 1.0, 2.5, math.nan, math.inf])
@pytest.mark.parametrize("kind", [Constant, Linear, Cosine])
def test_refuses_a_warmup_without_meaning(kind: Callable[..., Schedule], warmup: float) -> None:
    with pytest.raises(InputError, match=r"^schedule\.warmup is a number of steps \(int\) or a fraction below 1"):
        kind(warmup=warmup)


@pytest.mark.parametrize("floor", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_refuses_a_floor_without_meaning(kind: Callable[..., Schedule], floor: float) -> None:
    with pytest.raises(InputError, match=r"^schedule\.floor must be a factor from 0 to 1"):
        kind(floor=floor)


@pytest.mark.parametrize("schedule", [Constant(warmup=3), Linear(warmup=2), Cosine(warmup=2)], ids=str)
def test_goes_on_from_a_checkpoint_of_plain_types(schedule: Schedule) -> None:
    first = optimizer()
    scheduler = schedule(first, 10)
    for _ in range(4):
        first.step()
        scheduler.step()
    file = io.BytesIO()
    torch.save({"scheduler": scheduler.state_dict(), "optimizer": first.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    second = optimizer()
    restored = schedule(second, 10)
    restored.load_state_dict(saved["scheduler"])
    second.load_state_dict(saved["optimizer"])
    for run, its_scheduler in ((first, scheduler), (second, restored)):
        run.step()
        its_scheduler.step()

    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"]
    assert second.param_groups[0]["lr"] == factors(schedule, 10, 6)[-1] * LR


class Looks(pl.Callback):
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.steps = optimizer_steps(trainer)


@pytest.mark.parametrize(
    ("windows", "settings", "steps"),
    [
        (None, {"max_epochs": 3, "accumulate_grad_batches": 4}, 3 * 2),
        ({0: 1, 1: 4, 2: 5}, {"max_epochs": 3}, 6 + 2 + 2),
        ({1: 4}, {"max_epochs": 4}, 6 + 3 * 2),
        ({1: 4}, {"max_epochs": 4, "max_steps": 7}, 7),
        ({1: 4}, {"max_epochs": -1, "max_steps": 7}, 7),
    ],
)
def test_the_steps_of_a_run_are_those_that_it_makes(windows: Any, settings: dict, steps: int, tmp_path: Path) -> None:
    looks = Looks()
    callbacks = [looks] if windows is None else [looks, GradientAccumulationScheduler(windows)]
    run, _ = fit(tmp_path, module(), callbacks=callbacks, **{"max_steps": -1, **settings})
    assert looks.steps == run.global_step == steps


def test_a_run_over_loaders_without_a_length_has_no_end() -> None:
    run = trainer(max_epochs=2, max_steps=-1)
    run.fit_loop.setup_data = lambda: None  # type: ignore[method-assign]
    loader = SimpleNamespace(iterables=[()])
    run.fit_loop._combined_loader, run.fit_loop.max_batches = loader, math.inf  # type: ignore[assignment]
    assert optimizer_steps(run) == math.inf
