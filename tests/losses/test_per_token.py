"""Length normalisation around any kind of objective."""

from __future__ import annotations

from typing import Any

import jaxtyping
import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import (
    DPO,
    KTO,
    LDDPO,
    SFT,
    AllPairs,
    APOZeroUnpaired,
    BetaDPO,
    Compares,
    LengthNormalizedDPO,
    PerToken,
    PlackettLuceDPO,
    Reads,
    SimPO,
    Weighted,
)
from dpo_lightning.training.examples import comparison_of
from tests.losses import unpaired
from tests.losses.battery import some_scores
from tests.losses.listed import RAGGED, scores_of
from tests.training.test_examples import scored
from tests.training.test_lists import LISTS


def test_around_dpo_it_is_length_normalised_dpo() -> None:
    scores, one, other = some_scores(), PerToken(DPO(beta=5.0)), LengthNormalizedDPO(beta=5.0)
    torch.testing.assert_close(one(scores), other(scores), rtol=1e-12, atol=0)
    for found, expected in zip(one.rewards(scores), other.rewards(scores), strict=True):
        torch.testing.assert_close(found, expected)
    assert one.reads == other.reads
    assert one.compares is Compares.PAIRS


def test_around_lists_and_inside_all_pairs() -> None:
    lists = scores_of(*RAGGED)
    torch.testing.assert_close(
        PerToken(AllPairs(DPO(beta=5.0)))(lists), AllPairs(LengthNormalizedDPO(beta=5.0))(lists), rtol=1e-12, atol=0
    )
    by_hand = lists._replace(
        policy_logps=lists.policy_logps / lists.lengths, reference_logps=lists.reference_logps / lists.lengths
    )
    assert PerToken(PlackettLuceDPO(beta=5.0))(lists).equal(PlackettLuceDPO(beta=5.0)(by_hand))
    batch, scores = scored(PerToken(PlackettLuceDPO()), LISTS)
    # Each token's log-ratio is -1, whatever the length.
    assert (
        comparison_of(PerToken(PlackettLuceDPO())).predicted(batch, scores)["reward"].tolist()
        == [pytest.approx(-0.1)] * 9
    )


def test_inside_all_pairs_and_weighted_sums() -> None:
    lists, normalised = scores_of(*RAGGED), PerToken(DPO(beta=5.0))
    inside, outside = AllPairs(normalised, weighted=True), PerToken(AllPairs(DPO(beta=5.0), weighted=True))
    torch.testing.assert_close(inside(lists), outside(lists), rtol=1e-12, atol=0)
    assert inside.rewards(lists).equal(outside.rewards(lists))
    assert Reads.LENGTHS in inside.reads

    pairs = some_scores()
    mixed = Weighted((normalised, SFT()), (1.0, 0.2))
    torch.testing.assert_close(mixed(pairs), normalised(pairs) + 0.2 * SFT()(pairs))
    assert mixed.rewards(pairs)[0].equal(normalised.rewards(pairs)[0])
    assert mixed.compares is Compares.PAIRS
    assert (
        Weighted((PerToken(BetaDPO()),), (1.0,))
        .observe(pairs)
        .values.equal(  # type: ignore[union-attr]
            PerToken(BetaDPO()).observe(pairs).values  # type: ignore[union-attr]
        )
    )


@pytest.mark.parametrize("given", [PerToken(APOZeroUnpaired()), PerToken(PlackettLuceDPO())], ids=repr)
def test_of_other_kinds_it_is_not_inside_of_pairs(given: Any) -> None:
    for outer in (AllPairs, lambda each: Weighted((each,), (1.0,))):
        with pytest.raises(InputError, match="must be an objective of pairs, such as DPO, got PerToken"):
            outer(given)


def test_around_labelled_completions() -> None:
    scores = unpaired.scores_of(torch.tensor([4.0, -6.0, 3.0, 1.0]), unpaired.LABELS)
    scores = scores._replace(lengths=torch.tensor([2, 3, 3, 1]))
    expected = APOZeroUnpaired(beta=0.5)(unpaired.scores_of(torch.tensor([2.0, -2.0, 1.0, 1.0]), unpaired.LABELS))
    objective = PerToken(APOZeroUnpaired(beta=0.5))
    torch.testing.assert_close(objective(scores), expected)
    assert objective.reference_point(scores).item() == 0
    assert objective.rewards(scores).tolist() == [1.0, -1.0, 0.5, 0.5]


def test_means_over_batches_are_of_log_probs_per_token() -> None:
    scores, objective = some_scores(), PerToken(BetaDPO())
    seen = objective.observe(scores)
    assert seen is not None
    assert seen.values.equal(BetaDPO().observe(scores.per_token()).values)
    assert Reads.BASELINE in objective.reads


@pytest.mark.parametrize("given", [SimPO(), SFT(), KTO(), LDDPO(DPO()), PerToken(DPO())], ids=repr)
def test_what_it_would_not_change_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=rf"PerToken\.objective: {type(given).__name__} reads lengths, single"):
        PerToken(given)


def test_a_class_is_no_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match=r"PerToken\.objective must be an objective, such as DPO\(\.\.\.\), got"):
        PerToken(DPO)  # type: ignore[arg-type]
