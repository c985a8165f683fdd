"""What an objective reads, against what a format gives."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset

from dpo_lightning import DPO, KTO, SFT, TPO, Compares, Format, RowFormat, UnpairedBCO, UnpairedFormat
from dpo_lightning.data.compatibility import DataRead, check_fewest, check_read, checked_format
from dpo_lightning.data.reading.row_names import RowNames, RowsInFile
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AllPairs, AnyObjective, PerToken, PlackettLuceDPO, Reads, RowWeighted, SoftLabelDPO
from tests.data.common import data

WEIGHTED = RowWeighted(SoftLabelDPO())
NAMED = RowFormat(weight="times", probability="share")


def test_an_objective_says_what_it_reads() -> None:
    assert DataRead.by(KTO()) == ("KTO", Compares.LABELLED, KTO.reads, frozenset(), 1)
    assert DataRead.by(WEIGHTED).columns == {"probability", "weight"}
    assert Reads.PROBABILITY in WEIGHTED.reads


@pytest.mark.parametrize(
    ("objective", "row_format"),
    [(DPO(), RowFormat()), (SFT(), RowFormat()), (KTO(), UnpairedFormat()), (WEIGHTED, NAMED)],
    ids=["pairs", "chosen", "labelled", "columns"],
)
@pytest.mark.parametrize("predicting", [False, True])
def test_what_fits_passes(objective: AnyObjective, row_format: Format, predicting: bool) -> None:
    check_read(DataRead.by(objective), row_format, predicting=predicting)


@pytest.mark.parametrize(
    ("objective", "row_format", "line"),
    [
        (
            UnpairedBCO(),
            RowFormat(),
            "objective UnpairedBCO reads completions with a label, and data.format gives pairs: set data.format "
            "to UnpairedFormat, which takes a pair for two of them",
        ),
        (
            SFT(),
            UnpairedFormat(),
            "objective SFT reads pairs, and data.format UnpairedFormat gives single completions: take KTO or "
            "UnpairedBCO, or leave data.format out for rows with `chosen` and `rejected`",
        ),
        (
            DPO(),
            NAMED,
            "data.format.probability: the objective does not read it: leave it out, or take one that does; a subclass "
            "whose pair_losses reads it says so in data_read",
        ),
    ],
    ids=["pairs for completions", "completions for pairs", "unread column"],
)
@pytest.mark.parametrize("predicting", [False, True])
def test_what_does_not_fit_is_one_line(
    objective: AnyObjective, row_format: Format, line: str, predicting: bool
) -> None:
    with pytest.raises(InputError) as refused:
        check_read(DataRead.by(objective), row_format, predicting=predicting)

    assert str(refused.value) == line


def test_a_column_is_needed_by_a_loss_and_not_by_a_prediction() -> None:
    read, nameless = DataRead.by(WEIGHTED), RowFormat(weight="times")

    with pytest.raises(InputError, match=r"^the objective reads the probability of each row: name its column in"):
        check_read(read, nameless, predicting=False)
    check_read(read, nameless, predicting=True)


def own(**attributes: Any) -> Format:
    """A format of one's own."""
    return type("Own", (Format,), {"examples": lambda self, row, quote=str: [], **attributes})()


@pytest.mark.parametrize(
    "given", [RowFormat(), UnpairedFormat(), own(gives=Compares.LABELLED)], ids=lambda given: type(given).__name__
)
def test_a_format_that_says_it_is_taken(given: Format) -> None:
    assert checked_format(given) is given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (RowFormat, r"^data\.format: RowFormat is a class: write RowFormat\(\.\.\.\)$"),
        ({"chosen": "a"}, r"^data\.format: {'chosen': 'a'} is no Format: give RowFormat\(\.\.\.\), Unp"),
        (
            own(),
            r"^data\.format Own: gives is None: write `gives = Compares\.PAIRS`, `Compares\.LAB",
        ),
        (own(gives="pairs"), r"^data\.format Own: gives is 'pairs': write `gives = Compares\.PAIRS`"),
        (own(gives=[]), r"^data\.format Own: gives is \[\]: "),
        (own(gives=Compares.CHOSEN), r"^data\.format Own: gives is <Compares\.CHOSEN: .*>: write `gives = Comp"),
    ],
    ids=["class", "mapping", "nothing", "text", "list", "chosen"],
)
def test_another_one_is_refused_where_it_is_given(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        data(format=given)


def test_a_list_that_is_too_short_is_named_before_the_run() -> None:
    lists = Dataset.from_dict({"row": [4, 7, 9], "completion_ids": [[[1]] * 3, [[1]] * 2, [[1]] * 2]})
    named = RowNames("train", [RowsInFile("a.jsonl", 0, 7), RowsInFile("b.jsonl", 0, 9)])
    with pytest.raises(InputError) as refused:
        check_fewest(DataRead.by(TPO()), lists, named)
    assert str(refused.value) == (
        "b.jsonl, row 0 (from 0): 2 completions, and objective TPO compares 3 of a prompt or more (2 of 3 rows have "
        "fewer): leave such rows out, or take PlackettLuceDPO"
    )
    check_fewest(DataRead.by(TPO()), lists.select([0]), named)
    for objective in (PlackettLuceDPO(), PerToken(AllPairs(DPO())), DPO(), KTO()):
        check_fewest(DataRead.by(objective), lists, named)
    with pytest.raises(InputError, match=r"^b\.jsonl, row 2 .*\(2 of 3 rows"):
        check_fewest(DataRead.by(TPO()), lists.select([2, 0, 1]), named)
    assert [DataRead.by(each).fewest for each in (DPO(), SFT(), PerToken(PlackettLuceDPO()))] == [2, 1, 2]
