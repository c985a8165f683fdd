"""One battery over the objectives on lists, and what they share."""

from __future__ import annotations

import inspect
from itertools import combinations
from typing import Any

import jaxtyping
import pytest
import torch

from dpo_lightning import losses
from dpo_lightning.losses import (
    CPO,
    DPO,
    IPO,
    QRPO,
    RPO,
    SFT,
    TPO,
    AllPairs,
    BetaDPO,
    ListObjective,
    PlackettLuceDPO,
    Reads,
    SimPO,
    Weighted,
)
from dpo_lightning.losses.lists import listed_pairs, ranks, scored_below
from dpo_lightning.losses.scores import ListScores
from dpo_lightning.losses.unread import require_declared_reference
from tests.losses.listed import RAGGED, scores_of

OBJECTIVES = [
    PlackettLuceDPO(beta=0.5),
    AllPairs(DPO(beta=0.5)),
    AllPairs(DPO(beta=0.5), weighted=True),
    AllPairs(BetaDPO()),
    AllPairs(IPO()),
    AllPairs(SimPO()),
    AllPairs(Weighted([RPO(), SFT()], [1.0, 0.5])),
    AllPairs(CPO()),
    QRPO(beta=0.5),
    QRPO(beta=0.5, quantiles="column"),
    TPO(beta=0.5, gamma=0.2),
]
THREE = ([*RAGGED[0][:1], *RAGGED[0][2:]], [*RAGGED[1][:1], *RAGGED[1][2:]])
QUANTILES = [0.1, 0.9, 0.4, 0.7, 0.2, 0.6, 0.3, 0.5, 0.8]
every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)


def some(objective: Any, dtype: torch.dtype = torch.float64) -> ListScores:
    found = scores_of(*(THREE if isinstance(objective, TPO) else RAGGED), dtype=dtype)
    quantiles = torch.tensor(QUANTILES[: len(found.policy_logps)], dtype=dtype)
    return found._replace(columns={**found.columns, "quantile": quantiles})


def test_every_objective_is_in_the_battery() -> None:
    exported = [getattr(losses, name) for name in losses.__all__]
    kinds = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, ListObjective)}
    assert {kind for kind in kinds if not inspect.isabstract(kind)} == {*map(type, OBJECTIVES)}


@every_objective
def test_gradcheck(objective: Any) -> None:
    scores = some(objective)
    logps = scores.policy_logps.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: objective(scores._replace(policy_logps=given)), logps)


@every_objective
def test_a_list_has_the_loss_and_the_rewards_that_it_has_alone(objective: Any) -> None:
    scores = some(objective)
    together, rewards = objective(scores), objective.rewards(scores)
    assert together.shape == (len(scores.completions),)
    for n, count in enumerate(scores.completions):
        own = scores.example_of_completion == n
        alone = ListScores(
            scores.policy_logps[own],
            scores.reference_logps[own],
            scores.lengths[own],
            torch.zeros(count, dtype=torch.long),
            (count,),
            {name: values[own] for name, values in scores.columns.items()},
            baseline=scores.baseline,
        )
        torch.testing.assert_close(objective(alone)[0], together[n], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(objective.rewards(alone), rewards[own], rtol=1e-12, atol=1e-12)


@every_objective
def test_it_says_what_it_reads(objective: Any) -> None:
    """What an objective does not name, it does without; what it names, changes its loss."""
    scores = some(objective)
    for flag, name in ((Reads.SCORE, "score"), (Reads.QUANTILE, "quantile")):
        rest = {other: column for other, column in scores.columns.items() if other != name}
        if flag in objective.reads:
            other = scores._replace(columns={**rest, name: 1 - scores.columns[name]})
            assert not torch.allclose(objective(other), objective(scores)), name
        else:
            scores = scores._replace(columns=rest)
    assert (objective.observe(scores) is not None) == (Reads.BASELINE in objective.reads)
    without = scores._replace(reference_logps=scores.reference_logps * torch.nan, tokens=None)
    assert objective(without).isfinite().all() == (Reads.REFERENCE not in objective.reads)
    require_declared_reference(objective)


@every_objective
def test_low_precision_is_computed_in_float32(objective: Any) -> None:
    low = some(objective, torch.bfloat16)
    high = low._replace(
        policy_logps=low.policy_logps.double(),
        reference_logps=low.reference_logps.double(),
        columns={name: values.double() for name, values in low.columns.items()},
    )
    # The log-ratios themselves are differences of numbers with 8 bits.
    same = low._replace(
        policy_logps=low.policy_logps.float(),
        reference_logps=low.reference_logps.float(),
        columns={name: values.float() for name, values in low.columns.items()},
    )
    torch.testing.assert_close(objective(same).double(), objective(high), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", [PlackettLuceDPO(), QRPO()], ids=repr)
def test_shapes_do_not_broadcast(objective: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    scores = some(objective)
    with pytest.raises(ValueError, match="differ in shape"):
        objective(scores._replace(policy_logps=scores.policy_logps[:1], reference_logps=scores.reference_logps[:1]))


def test_pairs_and_places_against_loops() -> None:
    scores = scores_of(*RAGGED)
    score, example = scores.columns["score"], scores.example_of_completion
    places = range(len(score))

    assert {frozenset(pair) for pair in listed_pairs(scores).T.tolist()} == {
        frozenset((i, j)) for i, j in combinations(places, 2) if example[i] == example[j]
    }
    assert listed_pairs(scores).shape == (2, 6 + 1 + 3)
    assert scored_below(score, example).tolist() == [
        [bool(example[i] == example[j] and score[j] < score[i]) for j in places] for i in places
    ]
    found = ranks(score, example)
    for n in range(3):
        own = [i for i in places if example[i] == n]
        assert [int(found[i]) for i in sorted(own, key=lambda i: -score[i])] == [*range(len(own))]
