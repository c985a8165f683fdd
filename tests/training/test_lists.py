"""Lists of completions: which batches they take, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_lightning import AllPairs, ListScores, PlackettLuceDPO, TokenizedExample
from dpo_lightning.batch import Collate, collate_padded, collate_tree
from dpo_lightning.errors import InputError
from dpo_lightning.losses import DPO, QRPO, SimPO
from dpo_lightning.training.examples import comparison_of
from dpo_lightning.training.list_metrics import ListMean
from dpo_lightning.training.lists import Lists
from tests.helpers.tiny import PAIRS
from tests.training.test_examples import LABELLED, scored

LISTS = [
    TokenizedExample(4, [1, 5], [[8, 9, 2], [7, 2], [6, 2], [5, 5, 5, 2]], columns={"score": [2.0, 0.5, 1.0, 0.5]}),
    TokenizedExample(2, [1, 3], [[8, 2], [2]], columns={"score": [0.0, 1.0]}),
    TokenizedExample(7, [1, 6], [[4, 2], [9, 9, 9, 2], [3]], columns={"score": [1.0, 1.0, 0.0]}),
]
NAMELESS = [example._replace(columns={}) for example in LISTS]


def test_what_lists_say() -> None:
    objective = PlackettLuceDPO(beta=0.5)
    kind = comparison_of(objective)
    batch, scores = scored(objective, LISTS)
    predicted = kind.predicted(batch, scores)

    assert isinstance(kind, Lists)
    assert isinstance(scores, ListScores)
    assert isinstance(kind.means(), ListMean)
    # A log-ratio is -1 times the tokens: 3, 2, 2, then 2, 1, 4, then 2, 1, and 4.
    assert kind.logratios(scores).tolist() == [-3.0, -2.0, -2.0, -2.0, -1.0, -4.0, -2.0, -1.0, -4.0]
    assert {name: value.tolist() for name, value in predicted.items()} == {
        "pair_id": [4, 2, 7, 4, 2, 7, 4, 7, 4],
        "completion": [0, 0, 0, 1, 1, 1, 2, 2, 3],
        "reward": [-1.5, -1.0, -1.0, -1.0, -0.5, -2.0, -1.0, -0.5, -2.0],
        "score": [2.0, 0.0, 1.0, 0.5, 1.0, 1.0, 1.0, 0.0, 0.5],
    }


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (LABELLED, "objective PlackettLuceDPO reads lists of completions, and the batch has completions with a label"),
        ([*LISTS, LISTS[0].first(1)], "reads lists of two completions or more, and the batch has a prompt with one"),
        (
            [LISTS[1]._replace(mismatched_ids=[5])],
            "objective PlackettLuceDPO reads no completions of other prompts: leave mismatched_ids out",
        ),
        (
            [LISTS[1]._replace(completion_ids=[[8, 2], []])],
            "a completion of the batch has no tokens: leave such lists out",
        ),
    ],
    ids=["labels", "one", "mismatched", "empty"],
)
@pytest.mark.parametrize("collate", [collate_tree, collate_padded])
def test_a_batch_of_another_kind_is_refused(examples: Any, said: str, collate: Collate) -> None:
    with pytest.raises(InputError, match=said):
        scored(PlackettLuceDPO(), examples, collate)


def test_lists_are_no_pairs() -> None:
    with pytest.raises(InputError, match=r"prompts with 2, 3, 4 completions: .* or write AllPairs\(DPO\(\.\.\.\)\)"):
        scored(DPO(), LISTS)
    batch, scores = scored(AllPairs(DPO()), LISTS)
    assert AllPairs(DPO())(scores).shape == (batch.examples,)


@pytest.mark.parametrize("examples", [NAMELESS, PAIRS], ids=["lists", "pairs"])
def test_a_score_that_is_not_there_is_asked_for(examples: Any) -> None:
    for objective in (PlackettLuceDPO(), AllPairs(DPO())):
        batch, scores = scored(objective, examples)
        with pytest.raises(InputError, match="the column `score`, which the batch does not have"):
            comparison_of(objective).losses(lambda _, s, own=objective: own(s), batch, scores)


def test_quantiles_rank_where_there_is_no_score() -> None:
    objective = QRPO(quantiles="column")
    examples = [each._replace(columns={"quantile": each.columns["score"]}) for each in LISTS[1:]]
    batch, scores = scored(objective, examples)
    assert "quantile" in comparison_of(objective).predicted(batch, scores)
    assert "rewards/accuracies" in comparison_of(objective).watched(scores, objective(scores))


def test_rewards_that_are_not_those_of_each_completion_are_refused() -> None:
    objective = type("Own", (PlackettLuceDPO,), {"rewards": lambda *_: torch.zeros(3)})()
    batch, scores = scored(objective, LISTS)
    with pytest.raises(InputError, match=r"objective Own: rewards returns no tensor of shape \[9\]: return the reward"):
        Lists(objective).predicted(batch, scores)


def test_log_ratios_are_watched_where_there_is_a_reference() -> None:
    for objective, there in ((AllPairs(DPO()), True), (AllPairs(SimPO()), False)):
        _, scores = scored(objective, LISTS)
        watched = comparison_of(objective).watched(scores, objective(scores))
        assert ("logratios/chosen" in watched) is there
