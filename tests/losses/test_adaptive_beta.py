"""A beta that follows the margin, around objectives of pairs and of lists."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import permutations
from typing import Any

import pytest
import torch

from dpo_lightning import losses
from dpo_lightning.errors import InputError
from dpo_lightning.losses import (
    DPO,
    IPO,
    KTO,
    QRPO,
    TPO,
    AdaptiveBeta,
    AllPairs,
    BetaDPO,
    FDivergence,
    ForwardKL,
    Hinge,
    PerToken,
    PlackettLuceDPO,
    Reads,
    RowWeighted,
    SoftLabelDPO,
)
from dpo_lightning.losses.scores import Baseline
from dpo_lightning.training import RunningMean
from tests.losses.battery import some_scores
from tests.losses.listed import RAGGED, scores_of

MEANS = Baseline(torch.tensor(2.0, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64))


def some_of(objective: Any) -> Any:
    is_list = objective.compares is losses.Compares.LISTS
    return (scores_of(*RAGGED) if is_list else some_scores())._replace(baseline=MEANS)


def scaling() -> list[Any]:
    kinds = [getattr(losses, name) for name in losses.__all__]
    plain = [kind for kind in kinds if isinstance(kind, type) and getattr(kind, "scales_with_beta", False) is True]
    return [kind(beta=0.3) for kind in plain]


@pytest.mark.parametrize("objective", scaling(), ids=repr)
def test_it_is_the_objective_with_another_beta(objective: Any) -> None:
    """Margins 2 and usually 0.5: 1 + 0.6 x 1.5 = 1.9 times beta, by the settings of the objective itself."""
    scores, adaptive = some_of(objective), AdaptiveBeta(objective)
    expected = replace(objective, beta=1.9 * 0.3)(scores)
    torch.testing.assert_close(adaptive(scores), expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(adaptive(scores), objective(scores))
    assert adaptive.reads == objective.reads | Reads.BASELINE
    assert str(adaptive.rewards(scores)) == str(objective.rewards(scores))


def test_those_that_scale_are_the_ones_that_were_looked_at() -> None:
    assert {type(each).__name__ for each in scaling()} >= {"DPO", "Hinge", "PlackettLuceDPO", "NCA", "EXO"}
    assert all("beta" in {field.name for field in fields(each)} for each in scaling())


def test_around_dpo_it_is_beta_dpo() -> None:
    pairs = some_scores()._replace(baseline=MEANS)
    one, other = AdaptiveBeta(DPO(beta=0.2), alpha=0.4, momentum=0.7), BetaDPO(beta=0.2, alpha=0.4, momentum=0.7)
    torch.testing.assert_close(one(pairs), other(pairs))
    for found, expected in zip(one.observe(pairs) or (), other.observe(pairs), strict=True):
        assert found is expected or torch.as_tensor(found).equal(torch.as_tensor(expected))
    weighted = RowWeighted(one)
    assert weighted.observe(pairs).values.equal(other.observe(pairs).values)  # type: ignore[union-attr]


def test_around_lists_the_margins_are_those_of_all_pairs() -> None:
    """The usual margin is that of the batch before, of which nine tenths stay: by hand."""
    objective, mean = AdaptiveBeta(PlackettLuceDPO(beta=0.5)), RunningMean()
    margins = [
        a - b
        for ratios, scores in zip(*RAGGED, strict=True)
        for (a, s), (b, t) in permutations(zip(ratios, scores, strict=True), 2)
        if s > t
    ]
    usual = sum(margins) / len(margins)
    mean.added_to(scores_of(*RAGGED), objective, moves=True)
    tripled = scores_of([[3 * value for value in each] for each in RAGGED[0]], RAGGED[1])
    second = mean.added_to(tripled, objective, moves=True)

    share = 1 + 0.6 * (3 * usual - (0.9 * usual + 0.1 * 3 * usual))
    expected = PlackettLuceDPO(beta=0.5 * share)(second)
    torch.testing.assert_close(objective(second), expected, rtol=1e-5, atol=1e-6)
    assert share > 1.2


def test_it_composes_with_length_normalisation() -> None:
    lists = scores_of(*RAGGED)._replace(baseline=MEANS)
    both = PerToken(AdaptiveBeta(PlackettLuceDPO(beta=5.0)))
    torch.testing.assert_close(both(lists), PerToken(PlackettLuceDPO(beta=1.9 * 5.0))(lists))
    seen = both.observe(lists)
    assert seen is not None
    assert seen.values.equal(PerToken(AllPairs(BetaDPO())).observe(lists).values)  # type: ignore[union-attr]
    outside, inside = AdaptiveBeta(AllPairs(Hinge())), AllPairs(AdaptiveBeta(Hinge()))
    torch.testing.assert_close(outside(lists), inside(lists))
    assert outside.reads == inside.reads
    assert outside.reads_columns == {"score"} | Reads.BASELINE.columns


@pytest.mark.parametrize(
    "given",
    [IPO(), KTO(), QRPO(), TPO(), BetaDPO(), PerToken(DPO()), FDivergence(DPO(), ForwardKL()), AllPairs(IPO())],
    ids=repr,
)
def test_a_loss_that_is_more_than_beta_times_log_ratio_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=rf"^AdaptiveBeta\.objective must .*: {type(given).__name__} does not; put"):
        AdaptiveBeta(given)


@pytest.mark.parametrize("settings", [{"alpha": -1.0}, {"momentum": 0.0}, {"momentum": 1.0}])
def test_settings_are_checked(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=rf"^AdaptiveBeta\.{next(iter(settings))} must be"):
        AdaptiveBeta(SoftLabelDPO(), **settings)
