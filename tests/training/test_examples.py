"""Pairs and labelled completions: which batches each takes, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_lightning import DPO, KTO, PairScores, UnpairedBCO, UnpairedScores
from dpo_lightning.batch import Collate, PairBatch, TokenizedPair, collate_padded, collate_tree
from dpo_lightning.errors import InputError
from dpo_lightning.losses.scores import Baseline, TokenScores
from dpo_lightning.training.examples import Completions, Pairs, kind_of
from dpo_lightning.training.metrics import NAMES, PairMean, UnpairedMean
from tests.helpers.tiny import PAIRS

LABELLED = [pair._replace(desirable=pair.pair_id > 0) for pair in PAIRS]
ALONE = [pair._replace(rejected_ids=[]) for pair in LABELLED]


def scored(objective: Any, pairs: list[TokenizedPair], collate: Collate = collate_padded) -> tuple[PairBatch, Any]:
    """Each token of the policy has twice the log-prob of the reference's: a log-ratio is -1 times its sequence."""
    batch = collate(pairs)
    logps = torch.full((len(batch.targets),), -1.0)
    scores = kind_of(objective).scores(batch, TokenScores(2 * logps, logps, batch.sequence_id, batch.lengths))
    return batch, scores._replace(baseline=Baseline(*torch.zeros(2)))


@pytest.mark.parametrize(
    ("objective", "pairs", "message"),
    [
        (DPO(), LABELLED, "objective DPO reads pairs, and the batch has single completions with a label"),
        (KTO(), PAIRS, "objective KTO reads single completions with a label: give TokenizedPair.desirable"),
        (UnpairedBCO(), PAIRS, "objective UnpairedBCO reads single completions with a label"),
        (KTO(), ALONE, "objective KTO reads completions of other prompts: give them as TokenizedPair.rejected_ids"),
    ],
    ids=["completions for DPO", "pairs for KTO", "pairs for UnpairedBCO", "nothing mismatched for KTO"],
)
@pytest.mark.parametrize("collate", [collate_tree, collate_padded])
def test_a_batch_of_the_other_kind_is_refused(
    objective: Any, pairs: list[TokenizedPair], message: str, collate: Collate
) -> None:
    with pytest.raises(InputError, match=message):
        scored(objective, pairs, collate)


def test_what_pairs_say() -> None:
    objective = DPO(beta=0.5)
    kind = kind_of(objective)
    batch, scores = scored(objective, PAIRS)
    predicted = kind.predicted(batch, scores)

    assert isinstance(kind, Pairs)
    assert isinstance(scores, PairScores)
    assert isinstance(kind.means(), PairMean)
    assert {name: value.tolist() for name, value in predicted.items()} == {
        "pair_id": [0, 1, 2],
        "chosen": [-2.0, -1.0, -2.0],
        "rejected": [-1.5, -2.5, -1.0],
        "margin": [-0.5, 1.5, -1.0],
    }
    assert kind.logratios(scores).tolist() == [-4.0, -2.0, -4.0, -3.0, -5.0, -2.0]
    watched = kind.watched(scores, objective(scores))
    assert [*watched] == [*NAMES]
    assert watched["rewards/margins"].tolist() == [-0.5, 1.5, -1.0]


@pytest.mark.parametrize(
    ("objective", "pairs"), [(KTO(beta=0.5), LABELLED), (UnpairedBCO(beta=0.5), ALONE)], ids=["KTO", "UnpairedBCO"]
)
def test_what_completions_say(objective: Any, pairs: list[TokenizedPair]) -> None:
    kind = kind_of(objective)
    batch, scores = scored(objective, pairs)
    predicted = kind.predicted(batch, scores)

    assert isinstance(kind, Completions)
    assert isinstance(scores, UnpairedScores)
    assert isinstance(kind.means(), UnpairedMean)
    assert {name: value.tolist() for name, value in predicted.items()} == {
        "pair_id": [0, 1, 2],
        "reward": [-2.0, -1.0, -2.0],
        "desirable": [False, True, True],
    }
    assert kind.logratios(scores).tolist() == [-4.0, -2.0, -4.0]
    watched = kind.watched(scores, objective(scores))
    assert watched["rewards"].tolist() == [-2.0, -1.0, -2.0]
    assert ("kl" in watched) == isinstance(objective, KTO)


def test_a_pair_without_a_completion_is_refused() -> None:
    with pytest.raises(InputError, match="a completion of the batch has no tokens: leave such pairs out"):
        scored(DPO(), [*PAIRS, PAIRS[0]._replace(rejected_ids=[])])
