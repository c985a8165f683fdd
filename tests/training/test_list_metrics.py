"""Metrics of lists, against loops over their completions."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.losses.scores import TokenScores
from dpo_lightning.training.list_metrics import NAMES, ListMean, list_metrics
from tests.losses.listed import RAGGED, REFERENCE, scores_of

EQUAL = ([*RAGGED[0], [0.5, 0.7]], [*RAGGED[1], [1.0, 1.0]])
"""And a list whose scores are equal."""


def by_hand() -> dict[str, float]:
    """In the plainest words: rewards are twice the log-ratios, and a loss is the number of its list."""
    best, worst, right, first = [], [], [], []
    for ratios, scores in zip(*RAGGED, strict=True):
        best.append([r for r, s in zip(ratios, scores, strict=True) if s == max(scores)])
        worst.append([r for r, s in zip(ratios, scores, strict=True) if s == min(scores)])
        right += [
            ratios[i] > ratios[j] for i in range(len(scores)) for j in range(len(scores)) if scores[i] > scores[j]
        ]
        first.append(scores[ratios.index(max(ratios))] == max(scores))
    means = {
        f"logratios/{side}": sum(sum(each) / len(each) for each in ratios) / 3
        for side, ratios in (("chosen", best), ("rejected", worst))
    }
    found = {"loss": 1.5, "rewards/accuracies": sum(right) / len(right), "rewards/best_of_list": sum(first) / 3}
    found |= {"logps/accuracies": sum(right) / len(right)}  # the reference's log-probs are all the same
    found |= {"logps/accuracies_per_token": accuracy_per_token()}
    # The k-th completion of a list has k + 4 tokens; of four, two and three completions 0 1, 1 0 and 2 | 0 and 1.
    found |= {"lengths/chosen": (4 + 5 + 4.5) / 3, "lengths/rejected": (7 + 4 + 6) / 3}
    for side in ("chosen", "rejected"):
        found[f"rewards/{side}"] = 2 * means[f"logratios/{side}"]
        found[f"logps/{side}"] = REFERENCE + means[f"logratios/{side}"]
    return {**found, **means, "rewards/margins": found["rewards/chosen"] - found["rewards/rejected"]}


def accuracy_per_token() -> float:
    right = []
    for ratios, scores in zip(*RAGGED, strict=True):
        each = [(REFERENCE + ratio) / (4 + k) for k, ratio in enumerate(ratios)]
        right += [each[i] > each[j] for i in range(len(each)) for j in range(len(each)) if scores[i] > scores[j]]
    return sum(right) / len(right)


def test_means_against_loops() -> None:
    metric, scores = ListMean(), scores_of(*EQUAL)
    metric.update(list_metrics(scores, 2 * scores.logratio, torch.arange(4.0), scores.columns["score"]))
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == pytest.approx(by_hand(), rel=1e-6)
    assert found.keys() == {*NAMES} - {"kl"}  # the scores have no tokens
    assert 0 < found["rewards/accuracies"] < 1


def test_batches_add_up_by_what_they_have() -> None:
    whole, parts = ListMean(), ListMean()
    scores = scores_of(*EQUAL)
    whole.update(list_metrics(scores, scores.logratio, torch.arange(4.0), scores.columns["score"]))
    for n in range(4):
        one = scores_of([EQUAL[0][n]], [EQUAL[1][n]])
        parts.update(list_metrics(one, one.logratio, torch.tensor([float(n)]), one.columns["score"]))
    found, expected = ({name: value.item() for name, value in each.compute().items()} for each in (parts, whole))
    assert found == pytest.approx(expected, rel=1e-6)


def test_equal_scores_and_none_leave_the_loss_alone() -> None:
    for scores, ranking in ((scores_of([[0.5, 0.7]], [[1.0, 1.0]]), "score"), (scores_of(*RAGGED), None)):
        metric = ListMean()
        values = None if ranking is None else scores.columns[ranking]
        metric.update(list_metrics(scores, scores.logratio, torch.ones(len(scores.completions)), values))
        assert {name: value.item() for name, value in metric.compute().items()} == {"loss": 1.0}


def test_of_two_greatest_rewards_one_is_the_best() -> None:
    scores = scores_of([[1.0, 1.0, 0.0]], [[2.0, 1.0, 0.0]])
    values = list_metrics(scores, scores.logratio, torch.ones(1), scores.columns["score"])
    assert values["rewards/best_of_list"].tolist() == [[0.5], [1.0]]
    assert values["rewards/accuracies"].tolist() == [[2.5], [3.0]]


def test_a_policy_that_equals_its_reference_guesses() -> None:
    scores = scores_of([[0.0] * 4], [[3.0, 2.0, 1.0, 3.0]])
    values = list_metrics(scores, scores.logratio, torch.ones(1), scores.columns["score"])
    assert values["rewards/accuracies"].tolist() == [[2.5], [5.0]]
    assert values["rewards/best_of_list"].tolist() == [[0.5], [1.0]]  # two of four are best


def test_kl_counts_every_completion() -> None:
    scores = scores_of([[1.0, 2.0], [3.0, 0.0, 0.0]], [[1.0, 1.0], [3.0, 2.0, 1.0]], lengths=[[1] * 2, [1] * 3])
    tokens = TokenScores(scores.policy_logps, scores.reference_logps, torch.arange(5), scores.lengths)
    for ranking in (scores.columns["score"], None):
        values = list_metrics(scores._replace(tokens=tokens), scores.logratio, torch.ones(2), ranking)
        assert values["kl"].tolist() == [[2.5, 4.5], [2.0, 3.0]]
