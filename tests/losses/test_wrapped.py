"""Objectives that may stand inside another one."""

from __future__ import annotations

from typing import Any

import jaxtyping
import pytest
import torch

from dpo_lightning import DPO, KTO, SFT, AOTPaired, Compares, Reads, RowWeighted, Weighted
from dpo_lightning.errors import InputError
from dpo_lightning.losses.scores import ChosenScores
from dpo_lightning.losses.wrapped import loss_of, require_complete, require_objective, require_own_losses


@pytest.mark.parametrize(("given", "named"), [(KTO(), "KTO"), ("DPO", "str"), (None, "NoneType")])
def test_what_is_no_objective_of_pairs_is_refused(given: object, named: str) -> None:
    with pytest.raises(InputError, match=f"Outer\\.inner must be an objective of pairs, such as DPO, got {named}"):
        require_objective("Outer.inner", given)


def own(**attributes: Any) -> Any:
    """An objective of one's own, with attributes of the wrong kind."""
    return type("Own", (DPO,), attributes)()


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no checked annotations


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("around", [lambda inner: Weighted([DPO(), inner], [1, 1]), RowWeighted], ids=["sum", "rows"])
@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (DPO, r": DPO is a class: write DPO\(\.\.\.\)$"),
        (own(compares="pairs"), " Own: compares is 'pairs': leave it out, "),
        (own(compares=Compares.LABELLED), " Own: .* and is no UnpairedObjective: derive it from UnpairedObjective"),
        (own(compares=Compares.CHOSEN), " Own: .* and has no chosen_rewards: derive it from ChosenObjective"),
        (own(reads="REFERENCE"), " Own: reads is 'REFERENCE': write flags of Reads, such as Reads.REFERENCE"),
        (own(reads=[Reads.REFERENCE]), r" Own: reads is \[.*: write flags of Reads"),
        (own(reads_columns=["judge"]), r" Own: reads_columns is \['judge'\]: write frozenset"),
        (own(reads_columns=frozenset({1})), r" Own: reads_columns is frozenset\(\{1\}\): write frozenset"),
    ],
)
def test_an_inner_objective_is_checked_as_an_outer_one_is(around: Any, inner: Any, message: str) -> None:
    with pytest.raises(InputError, match=r"^(Weighted\.objectives|RowWeighted\.objective)" + message):
        around(inner)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("objectives", "weights", "message"),
    [
        (DPO(), [1.0], r"Weighted\.objectives: DPO\(.*\) is no list: write \[\.\.\.\], with one for each objective$"),
        ("DPO", [1.0], r"Weighted\.objectives: 'DPO' is no list: "),
        ([DPO()], 1.0, r"Weighted\.weights: 1\.0 is no list: "),
    ],
)
def test_a_sum_takes_lists(objectives: Any, weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Weighted(objectives, weights)


def test_pairs_have_no_completions_of_other_prompts() -> None:
    with pytest.raises(InputError, match=r"^objective Own: only labelled completions .*: leave Reads\.MISMATCHED out$"):
        require_complete("objective", own(reads=Reads.REFERENCE | Reads.MISMATCHED))


def test_a_loss_of_the_whole_batch_has_no_weights() -> None:
    require_own_losses("Outer.inner", DPO())
    with pytest.raises(InputError, match="that of AOTPaired is one of the whole batch"):
        require_own_losses("Outer.inner", AOTPaired())


def test_the_loss_is_that_of_the_scores_given() -> None:
    scores = ChosenScores(torch.tensor([-3.0]), torch.zeros(1), torch.tensor([6]))

    assert loss_of(SFT(), scores) == SFT()(scores) == 0.5  # 3 nats over 6 tokens
