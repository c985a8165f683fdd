"""Which examples an objective needs, and how much of them it reads."""

from __future__ import annotations

import pytest

from dpo_lightning.losses import DPO, KTO, SFT, AnyObjective, Compares, PlackettLuceDPO


@pytest.mark.parametrize(
    ("objective", "compares", "given_by", "most"),
    [
        (DPO(), Compares.PAIRS, Compares.PAIRS, None),
        (KTO(), Compares.LABELLED, Compares.LABELLED, None),
        (SFT(), Compares.CHOSEN, Compares.PAIRS, 1),
        (PlackettLuceDPO(), Compares.LISTS, Compares.LISTS, None),
    ],
    ids=["DPO", "KTO", "SFT", "PlackettLuceDPO"],
)
def test_every_kind_has_its_examples(
    objective: AnyObjective, compares: Compares, given_by: Compares, most: int | None
) -> None:
    assert objective.compares is compares
    assert compares.given_by is given_by
    assert compares.most_completions == most


def test_what_gives_examples_gives_itself() -> None:
    assert {each.given_by.given_by for each in Compares} == {each.given_by for each in Compares}
