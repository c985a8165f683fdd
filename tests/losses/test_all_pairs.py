"""Objectives of pairs on all pairs of a list."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import jaxtyping
import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import (
    DPO,
    KTO,
    LDDPO,
    RPO,
    WPO,
    AllPairs,
    AOTPaired,
    BetaDPO,
    LengthNormalizedDPO,
    PairedBCO,
    Reads,
    RewardAwareSquared,
    RowWeighted,
    SoftLabelDPO,
)
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.training import RunningMean
from tests.losses.listed import RAGGED, REFERENCE, scores_of


def pair(chosen: float, rejected: float, lengths: tuple[int, int] = (4, 5), **columns: float) -> PairScores:
    """A pair with these log-ratios."""
    sums = torch.tensor([[chosen + REFERENCE], [rejected + REFERENCE], [REFERENCE], [REFERENCE]], dtype=torch.float64)
    given = {name: torch.tensor([value], dtype=torch.float64) for name, value in columns.items()}
    return PairScores(*sums, *torch.tensor(lengths)[:, None], given)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("objective", [DPO(beta=0.5), LengthNormalizedDPO(beta=2.0), RPO(), RewardAwareSquared()])
def test_every_pair_has_the_loss_of_the_objective(objective: Any, weighted: bool) -> None:
    lists = scores_of(*RAGGED)
    expected = []
    for ratios, scores in zip(*RAGGED, strict=True):
        pairs = [(i, j) for i, j in permutations(range(len(ratios)), 2) if scores[i] > scores[j]]
        losses = [
            (scores[i] - scores[j] if weighted else 1)
            * objective(pair(ratios[i], ratios[j], (4 + i, 4 + j), margin=scores[i] - scores[j])).item()
            for i, j in pairs
        ]
        expected.append(sum(losses) / len(pairs))

    assert AllPairs(objective, weighted=weighted)(lists).tolist() == pytest.approx(expected, rel=1e-12)


def test_of_two_completions_it_is_the_objective() -> None:
    lists = scores_of([[0.7, -0.4], [-2.0, 1.0]], [[1.0, 0.0], [0.25, 0.5]])
    assert AllPairs(DPO(0.5))(lists).tolist() == [DPO(0.5)(pair(0.7, -0.4)).item(), DPO(0.5)(pair(1.0, -2.0)).item()]
    assert AllPairs(DPO(0.5)).rewards(lists).tolist() == pytest.approx([0.35, -1.0, -0.2, 0.5])


def test_a_list_of_equal_scores_teaches_nothing() -> None:
    lists = scores_of([[0.7, -0.4, 0.1], [1.0, 0.0]], [[1.0, 1.0, 1.0], [1.0, 0.0]])
    lists = lists._replace(policy_logps=lists.policy_logps.requires_grad_())
    losses = AllPairs(DPO())(lists)
    (gradient,) = torch.autograd.grad(losses.sum(), lists.policy_logps)
    assert losses[0].item() == 0
    assert (gradient != 0).tolist() == [bool(example) for example in lists.example_of_completion]


def test_weights_of_rows_and_columns_of_completions_reach_the_pairs() -> None:
    lists = scores_of(*RAGGED, weight=[1.0, 3.0, 0.5])
    weighted, plain = AllPairs(RowWeighted(DPO()))(lists), AllPairs(DPO())(lists)
    torch.testing.assert_close(weighted, plain * torch.tensor([1.0, 3.0, 0.5]))
    assert AllPairs(RowWeighted(DPO())).reads_columns == {"weight", "score"}
    assert AllPairs(RPO()).reads_columns == {"score"}
    assert Reads.MARGIN not in AllPairs(RPO()).reads


@pytest.mark.parametrize("objective", [BetaDPO(alpha=0.5, momentum=0.5), PairedBCO(beta=0.5)], ids=repr)
def test_means_over_batches_are_those_of_the_pairs_that_count(objective: Any) -> None:
    listed, mean = AllPairs(objective), RunningMean()
    lists = mean.added_to(scores_of(*RAGGED), listed, moves=True)
    seen = [
        objective.observe(pair(ratios[i], ratios[j])).values
        for ratios, scores in zip(*RAGGED, strict=True)
        for i, j in permutations(range(len(ratios)), 2)
        if scores[i] > scores[j]
    ]
    assert len(seen) == 6 + 1 + 2
    assert lists.baseline.batch.item() == pytest.approx(torch.cat(seen).mean().item(), rel=1e-6)
    assert listed(lists).isfinite().all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (AOTPaired(), "AllPairs.objective must have a loss for each pair: that of AOTPaired is one of the whole batch"),
        (LDDPO(DPO()), r"AllPairs.objective: LDDPO reads what a pair of a list does not have \(tokens\)"),
        (WPO(DPO()), r"AllPairs.objective: WPO reads what a pair of a list does not have \(collisions\)"),
        (SoftLabelDPO(), r"AllPairs.objective: SoftLabelDPO reads what a pair of a list does not have \(probability\)"),
        (KTO(), "AllPairs.objective must be an objective of pairs, such as DPO, got KTO"),
        (AllPairs(DPO()), "AllPairs.objective must be an objective of pairs, such as DPO, got AllPairs"),
    ],
)
def test_what_a_pair_of_a_list_does_not_have_is_refused(given: Any, said: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match=said):
        AllPairs(given)


def test_around_beta_dpo_beta_follows_the_mean_margin_of_all_pairs() -> None:
    """The papers' equation over the pairs of every list, by hand; the usual margin is that of the batch before."""
    objective, mean = AllPairs(BetaDPO(beta=0.5, alpha=0.6, momentum=0.9)), RunningMean()
    listed = [
        [a - b for (a, s), (b, t) in permutations(zip(ratios, scores, strict=True), 2) if s > t]
        for ratios, scores in zip(*RAGGED, strict=True)
    ]
    margins = [margin for each in listed for margin in each]
    first = mean.added_to(scores_of(*RAGGED), objective, moves=True)
    tripled = scores_of([[3 * value for value in each] for each in RAGGED[0]], RAGGED[1])
    second = mean.added_to(tripled, objective, moves=True)

    usual, batch = first.baseline.running.item(), 3 * sum(margins) / len(margins)
    assert second.baseline.batch.item() == pytest.approx(batch, rel=1e-6)
    share = max(1 + 0.6 * (batch - second.baseline.running.item()), 0.01)
    assert usual == pytest.approx(batch / 3, rel=1e-6)
    assert share != 1
    expected = [sum(DPO(0.5 * share)(pair(3 * m, 0.0)).item() for m in each) / len(each) for each in listed]
    assert objective(second).tolist() == pytest.approx(expected, rel=1e-5)
