"""Pairs and labelled completions: which batches each takes, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dpo_lightning import DPO, KTO, SFT, Compares, PairScores, PreferenceModule, UnpairedBCO, UnpairedScores
from dpo_lightning.batch import Collate, PreferenceBatch, TokenizedExample, collate_padded, collate_tree
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.losses import Reads
from dpo_lightning.losses.scores import Baseline, ChosenScores, TokenScores
from dpo_lightning.training.examples import Chosen, Labelled, Pairs, comparison_of
from dpo_lightning.training.metrics import NAMES, ChosenMean, PairMean, UnpairedMean
from tests.helpers.runs import fit
from tests.helpers.tiny import PAIRS, labelled_of, tiny_llama

LABELLED = [labelled_of(pair) for pair in PAIRS]
ALONE = [example._replace(mismatched_ids=[]) for example in LABELLED]
CHOSEN = [pair._replace(completion_ids=pair.completion_ids[:1]) for pair in PAIRS]

SEVERAL = [
    PAIRS[0]._replace(labels=[True, False], mismatched_ids=[14, 2]),
    LABELLED[1],
    PAIRS[2]._replace(labels=[False, False], mismatched_ids=[8, 9, 2]),
]
"""Prompts with two, one and two labelled completions: five, in the order of sequences 0, 1, 2, then 0 and 2."""

GROUPED = {DPO(): PAIRS, SFT(): CHOSEN, KTO(): LABELLED}


def scored(
    objective: Any, pairs: list[TokenizedExample], collate: Collate = collate_padded
) -> tuple[PreferenceBatch, Any]:
    """Each token of the policy has twice the log-prob of the reference's: a log-ratio is -1 times its sequence."""
    batch = collate(pairs)
    logps = torch.full((len(batch.targets),), -1.0)
    scores = comparison_of(objective).scores(batch, TokenScores(2 * logps, logps, batch.sequence_id, batch.lengths))
    return batch, scores._replace(baseline=Baseline(*torch.zeros(2)))


@pytest.mark.parametrize(
    ("objective", "pairs", "message"),
    [
        (DPO(), LABELLED, "objective DPO reads pairs, and the batch has completions with a label: take KTO or"),
        (KTO(), PAIRS, "objective KTO reads completions with a label: give TokenizedExample.labels"),
        (DPO(), CHOSEN, "objective DPO reads pairs, and the batch has prompts with 1 completions: give each the"),
        (SFT(), LABELLED, "objective SFT reads pairs, and the batch has completions with a label"),
        (SFT(), [CHOSEN[0], *PAIRS], "objective SFT reads pairs, and the batch has prompts with 1, 2 completions"),
        (UnpairedBCO(), PAIRS, "objective UnpairedBCO reads completions with a label"),
        (
            KTO(),
            ALONE,
            "objective KTO reads completions of other prompts: give them as TokenizedExample.mismatched_ids",
        ),
    ],
    ids=[
        "completions for DPO",
        "pairs for KTO",
        "half of pairs for DPO",
        "completions for SFT",
        "half of some pairs for SFT",
        "pairs for UnpairedBCO",
        "nothing mismatched for KTO",
    ],
)
@pytest.mark.parametrize("collate", [collate_tree, collate_padded])
def test_a_batch_of_the_other_kind_is_refused(
    objective: Any, pairs: list[TokenizedExample], message: str, collate: Collate
) -> None:
    with pytest.raises(InputError, match=message):
        scored(objective, pairs, collate)


def test_what_pairs_say() -> None:
    objective = DPO(beta=0.5)
    kind = comparison_of(objective)
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
def test_what_completions_say(objective: Any, pairs: list[TokenizedExample]) -> None:
    kind = comparison_of(objective)
    batch, scores = scored(objective, pairs)
    predicted = kind.predicted(batch, scores)

    assert isinstance(kind, Labelled)
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
    assert ("kl_mismatched" in watched) == isinstance(objective, KTO)


def test_several_completions_of_a_prompt_say_what_each_says_alone() -> None:
    objective = KTO(beta=0.5)
    kind = comparison_of(objective)
    several = [each._replace(columns={"length": float(each.row), "each": [0.5] * len(each.labels)}) for each in SEVERAL]
    batch, scores = scored(objective, several)
    predicted = kind.predicted(batch, scores)

    assert {name: value.tolist() for name, value in predicted.items()} == {
        "pair_id": [0, 1, 2, 0, 2],
        "reward": [-2.0, -1.0, -2.0, -1.5, -1.0],
        "desirable": [True, True, False, False, False],
    }
    assert scores.columns["length"].tolist() == [0, 1, 2, 0, 2]
    assert scores.columns["each"].tolist() == [0.5] * 5
    assert objective.observe(scores).values.tolist() == [-2.0, -5.0, -3.0]  # one for each prompt
    metric = kind.means()
    metric.update(kind.watched(scores, objective(scores)))
    means = metric.compute()
    assert means["kl_mismatched"].item() == pytest.approx(-10 / 3)
    assert means["rewards/chosen"].item() == pytest.approx(-1.5)
    assert means["rewards/rejected"].item() == pytest.approx(-1.5)
    assert means["rewards/accuracies"].item() == pytest.approx(3 / 5)  # of rewards below 0


def test_what_chosen_completions_say() -> None:
    kind = comparison_of(SFT())
    batch, scores = scored(SFT(), CHOSEN)

    assert isinstance(kind, Chosen)
    assert isinstance(scores, ChosenScores)
    assert isinstance(kind.means(), ChosenMean)
    assert {name: value.tolist() for name, value in kind.predicted(batch, scores).items()} == {
        "pair_id": [0, 1, 2],
        "chosen": [-2.0, -2.0, -2.0],
    }
    assert kind.logratios(scores).tolist() == [-4.0, -2.0, -4.0]
    watched = kind.watched(scores, SFT()(scores))
    assert {name: value.tolist() for name, value in watched.items()} == {
        "loss": [2.0, 2.0, 2.0],
        "rewards/chosen": [-2.0, -2.0, -2.0],
        "logps/chosen": [-8.0, -4.0, -8.0],
        "lengths/chosen": [4, 2, 4],
    }
    assert scores.without_difference().chosen_logratio.tolist() == [0.0, 0.0, 0.0]


def test_whole_pairs_say_of_chosen_completions_what_pairs_say() -> None:
    kind = comparison_of(SFT())
    batch, scores = scored(SFT(), PAIRS)

    assert isinstance(scores, PairScores)
    assert [*kind.predicted(batch, scores)] == ["pair_id", "chosen", "rejected", "margin"]
    watched = kind.watched(scores, SFT()(scores))
    assert [*watched] == [name for name in NAMES if name != "kl" and not name.startswith("logratios/")]
    means = kind.means()
    means.update(watched)
    assert means.compute().keys() == watched.keys()


def test_a_log_ratio_is_watched_where_there_is_a_reference() -> None:
    class WithReference(SFT):
        reads = SFT.reads | Reads.REFERENCE

    _, scores = scored(WithReference(), CHOSEN)
    watched = comparison_of(WithReference()).watched(scores, SFT()(scores))

    assert watched["logratios/chosen"].tolist() == [-4.0, -2.0, -4.0]
    assert watched["kl"].tolist() == [2.0, 1.0, 2.0]  # a nat on each of four and two tokens


def test_a_pair_without_a_completion_is_refused() -> None:
    with pytest.raises(InputError, match="a completion of the batch has no tokens: leave such pairs out"):
        scored(DPO(), [*PAIRS, PAIRS[0]._replace(completion_ids=[[3], []])])


@pytest.mark.parametrize("objective", [DPO(), SFT()], ids=["pairs", "chosen"])
@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_pairs_with_a_completion_of_another_prompt_are_refused(objective: Any, collate: Collate) -> None:
    batch = collate([example._replace(mismatched_ids=[11, 12]) for example in PAIRS])
    values = torch.zeros(len(batch.targets))
    tokens = TokenScores(values, values, batch.sequence_id, batch.lengths)
    with pytest.raises(InputError, match="reads no completions of other prompts: leave mismatched_ids out"):
        comparison_of(objective).scores(batch, tokens)


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_numbers_of_completions_are_grouped_as_they_are_compared(collate: Collate) -> None:
    """Of pairs a value of the chosen and one of the rejected completion, of others one of theirs."""

    def with_numbers(examples: list[TokenizedExample]) -> list[TokenizedExample]:
        return [
            each._replace(columns={"score": [each.row + k / 8 for k in range(len(each.completion_ids))], "weight": 2.0})
            for each in examples
        ]

    found = {kind: scored(kind, with_numbers(of), collate)[1] for kind, of in GROUPED.items()}

    chosen, rejected = found[DPO()].columns["score"]
    assert chosen.tolist() == [0.0, 1.0, 2.0]
    assert rejected.tolist() == [0.125, 1.125, 2.125]
    assert found[SFT()].columns["score"].tolist() == found[KTO()].columns["score"].tolist() == [0.0, 1.0, 2.0]
    for scores in found.values():
        assert scores.columns["weight"].tolist() == [2.0, 2.0, 2.0]


def own(**attributes: Any) -> Any:
    """An objective of one's own, with attributes of the wrong kind."""
    return type("Own", (DPO,), attributes)()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (DPO, r"^objective: DPO is a class: write DPO\(\.\.\.\)$"),
        (scored, "^objective: the function scored is no AnyObjective: derive a frozen dataclass from Objective"),
        ("DPO", "^objective: 'DPO' is no AnyObjective: "),
        (own(compares="pairs"), "^objective Own: compares is 'pairs': leave it out, "),
        (own(compares=None), "^objective Own: compares is None: leave it out, "),
        (own(reads="reference"), "^objective Own: reads is 'reference': write flags of Reads, such as Reads.REF"),
        (own(compares=Compares.LABELLED), "^objective Own: .* and is no UnpairedObjective: derive it from UnpairedO"),
        (own(compares=Compares.CHOSEN), "^objective Own: .* and has no chosen_rewards: derive it from ChosenObjective"),
        (own(reads_columns=["judge"]), r"^objective Own: reads_columns is \['judge'\]: write frozenset"),
    ],
)
def test_what_is_no_objective_is_refused_where_it_is_given(objective: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PreferenceModule("some/model", objective)


class ReadsRejected(PreferenceModule):
    """Adds a term of the rejected completions."""

    def pair_losses(self, batch: PreferenceBatch, scores: Any) -> Any:
        return super().pair_losses(batch, scores) + scores.policy_rejected_logps.abs()


class SaysSo(ReadsRejected):
    def data_read(self) -> DataRead:
        return super().data_read()._replace(compares=Compares.PAIRS)


def test_a_loss_of_rejected_completions_that_are_not_computed_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        fit(tmp_path, ReadsRejected(tiny_llama(), SFT()), max_steps=1)
    assert str(told.value) == (
        "objective SFT computes no rejected completion in training, and the loss reads scores.policy_rejected_logps: "
        "return super().data_read()._replace(compares=Compares.PAIRS) from the module's data_read; an objective of "
        "your own that reads it derives from Objective"
    )
    fit(tmp_path, SaysSo(tiny_llama(), SFT()), max_steps=1)


def test_another_attribute_that_is_missing_is_none_of_the_scores() -> None:
    batch, scores = scored(SFT(), CHOSEN)

    def typo(batch: PreferenceBatch, scores: Any) -> Any:
        return scores.chosen_logratios

    with pytest.raises(AttributeError, match="no attribute 'chosen_logratios'"):
        comparison_of(SFT()).losses(typo, batch, scores)


@pytest.mark.parametrize(
    "found", [None, torch.zeros(3), (torch.zeros(()), torch.zeros(()))], ids=["none", "one", "means"]
)
def test_rewards_that_are_not_those_of_each_pair_are_refused(found: Any) -> None:
    objective = type("Own", (DPO,), {"rewards": lambda *_: found})()
    batch, scores = scored(DPO(), PAIRS)
    for ask in (lambda: Pairs(objective).predicted(batch, scores), lambda: Pairs(objective).watched(scores, scores[0])):
        with pytest.raises(
            InputError, match=r"^objective Own: rewards returns no pair of tensors of shape \[3\]: return"
        ):
            ask()


def test_an_objective_that_forgets_its_reference_is_refused_where_it_is_given() -> None:
    forgets = dataclass(frozen=True)(type("Forgets", (DPO,), {"reads": Reads.NOTHING}))
    with pytest.raises(InputError, match=r"^objective Forgets reads the reference, and its reads does not say so"):
        PreferenceModule("some/model", forgets())


def test_what_nobody_has_said_to_read_is_no_number(tmp_path: Path) -> None:
    class Adds(PreferenceModule):
        def pair_losses(self, batch: PreferenceBatch, scores: Any) -> Any:
            return super().pair_losses(batch, scores) + scores.chosen_logratio

    with pytest.raises(RunError, match="a loss is not finite"):
        fit(tmp_path, Adds(tiny_llama(), SFT()), max_steps=1)
