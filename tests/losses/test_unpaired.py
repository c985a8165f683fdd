"""One battery over the objectives on single completions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jaxtyping
import pytest
import torch

from dpo_lightning import KTO, APOZeroUnpaired, UnpairedBCO, UnpairedObjective, losses
from dpo_lightning.errors import InputError
from dpo_lightning.losses import kto, unpaired_bco
from tests.losses.unpaired import LABELS, scores_of


@dataclass(frozen=True)
class Row:
    """An objective, and its losses by hand: of log-ratio and label, where z0 or delta is ``baseline``."""

    name: str
    objective: UnpairedObjective
    baseline: float
    points: Sequence[tuple[float, bool]]
    losses: Sequence[float]
    start: float


def test_every_objective_has_a_row() -> None:
    exported = [getattr(losses, name) for name in losses.__all__]
    kinds = [kind for kind in exported if isinstance(kind, type) and issubclass(kind, UnpairedObjective)]

    assert {kind for kind in kinds if not inspect.isabstract(kind)} == {type(row.objective) for row in ROWS}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


ROWS = [
    # 0.1 x the distances 5, 0, -5 and -5 nats from z0 = 2.
    Row(
        "KTO",
        KTO(),
        2.0,
        [(7.0, True), (2.0, True), (-3.0, True), (-3.0, False)],
        [0.3775406687981454, 0.5, 0.6224593312018546, 0.3775406687981454],
        start=0.5,
    ),
    # A negative estimate of a KL divergence is 0.
    Row(
        "KTO, weighted, below 0",
        KTO(beta=0.5, desirable_weight=4 / 3, undesirable_weight=2.0),
        -3.0,
        [(2.0, True), (2.0, False), (0.0, False)],
        [4 / 3 * sigmoid(-1.0), 2 * sigmoid(1.0), 1.0],
        start=1.0,
    ),
    # Rewards 0.5, 0.5 and -1 against delta = 0.25: log(1 + e^-0.25), log(1 + e^0.25), log(1 + e^-1.25).
    Row(
        "UnpairedBCO",
        UnpairedBCO(beta=0.5),
        0.25,
        [(1.0, True), (1.0, False), (-2.0, False)],
        [math.log1p(math.exp(-0.25)), math.log1p(math.exp(0.25)), math.log1p(math.exp(-1.25))],
        start=math.log(2),
    ),
]
ROWS += [
    # KTO with the reference for its reference point, whatever a baseline would be: 0.5 x 2 nats.
    Row(
        "APOZeroUnpaired",
        APOZeroUnpaired(beta=0.5, desirable_weight=2.0, undesirable_weight=3.0),
        0.0,
        [(2.0, True), (2.0, False), (-2.0, True), (-2.0, False)],
        [2 * sigmoid(-1.0), 3 * sigmoid(1.0), 2 * sigmoid(1.0), 3 * sigmoid(-1.0)],
        start=1.5,
    ),
]
every_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


@every_row
def test_values_by_hand(row: Row) -> None:
    logratio, desirable = zip(*row.points, strict=True)
    scores = scores_of(torch.tensor(logratio, dtype=torch.float64), torch.tensor(desirable), row.baseline, -40.0)

    assert len(row.points) >= 3
    assert row.objective(scores).tolist() == pytest.approx(list(row.losses), rel=1e-12)
    beta: float = row.objective.beta  # type: ignore[attr-defined]
    assert row.objective.rewards(scores).tolist() == pytest.approx([beta * ratio for ratio in logratio], rel=1e-12)


@every_row
def test_a_policy_that_is_its_reference(row: Row) -> None:
    scores = scores_of(torch.zeros(1), torch.tensor([False]), 0.0)

    assert row.objective(scores).item() == pytest.approx(row.start)
    assert row.objective.reference_point(scores).item() == 0.0


@every_row
def test_desirable_completions_are_pulled_up_and_others_pushed_down(row: Row) -> None:
    logratio = torch.tensor([1.0, 1.0, -1.0, -1.0], requires_grad=True)

    row.objective(scores_of(logratio, LABELS, row.baseline)).sum().backward()

    assert logratio.grad is not None
    assert logratio.grad.sign().tolist() == [-1, 1, -1, 1]


@every_row
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extremes_stay_finite(row: Row, size: float) -> None:
    logratio = torch.full((4,), size, requires_grad=True)

    losses = row.objective(scores_of(logratio, LABELS, row.baseline))
    losses.sum().backward()

    assert losses.isfinite().all()
    assert logratio.grad is not None
    assert logratio.grad.isfinite().all()


@every_row
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(row: Row, dtype: torch.dtype) -> None:
    low = torch.randn(4).to(dtype)

    losses = row.objective(scores_of(low, LABELS, row.baseline))

    assert losses.dtype == torch.float32
    torch.testing.assert_close(
        losses.double(), row.objective(scores_of(low.double(), LABELS, row.baseline)), rtol=1e-6, atol=1e-7
    )


@every_row
def test_gradcheck(row: Row) -> None:
    logratio = torch.randn(4, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda ratio: row.objective(scores_of(ratio, LABELS, row.baseline)), logratio)


@every_row
def test_only_the_log_ratio_counts(row: Row) -> None:
    logratio = torch.randn(4, dtype=torch.float64)

    here, there = (row.objective(scores_of(logratio, LABELS, row.baseline, reference)) for reference in (0.0, -30.0))

    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("row", [ROWS[0], ROWS[2]], ids=["KTO", "UnpairedBCO"])
def test_the_other_label_is_the_mirrored_distance(row: Row) -> None:
    """Of equal weights: what a desirable completion loses below the reference point, another one loses above it."""
    beta: float = row.objective.beta  # type: ignore[attr-defined]
    distance = torch.randn(4, dtype=torch.float64)
    point = row.objective.reference_point(scores_of(distance, LABELS, row.baseline)) / beta

    below, above = (
        scores_of(point + side * distance, label, row.baseline) for side, label in ((1, LABELS), (-1, ~LABELS))
    )

    torch.testing.assert_close(row.objective(below), row.objective(above), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("row", ROWS[:3], ids=[row.name for row in ROWS[:3]])
def test_a_baseline_is_needed(row: Row) -> None:
    with pytest.raises(ValueError, match=r"give scores\.baseline"):
        row.objective(scores_of(torch.zeros(4), LABELS)._replace(baseline=None))


def test_shapes_do_not_broadcast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    zero = torch.tensor(0.0)
    with pytest.raises(ValueError, match="differ in shape"):
        kto(torch.zeros(3), LABELS[:1], kl=zero, beta=0.1)
    with pytest.raises(ValueError, match="differ in shape"):
        unpaired_bco(torch.zeros(3), LABELS[:1], delta=zero, beta=0.1)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: KTO(beta=0.0), r"KTO\.beta"),
        (lambda: KTO(desirable_weight=-1.0), r"KTO\.desirable_weight"),
        (lambda: KTO(undesirable_weight=math.nan), r"KTO\.undesirable_weight"),
        (lambda: APOZeroUnpaired(beta=-1.0), r"APOZeroUnpaired\.beta"),
        (lambda: UnpairedBCO(beta=math.inf), r"UnpairedBCO\.beta"),
        (lambda: UnpairedBCO(momentum=1.0), r"UnpairedBCO\.momentum"),
    ],
)
def test_settings_are_checked(build: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        build()
