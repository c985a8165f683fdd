"""What an objective reads, against what a format gives."""

from __future__ import annotations

import pytest

from dpo_lightning import DPO, KTO, SFT, RowFormat, UnpairedBCO, UnpairedFormat
from dpo_lightning.data.compatibility import DataRead, check_read
from dpo_lightning.data.formats import Format
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective, Compares, Reads, RowWeighted, SoftLabelDPO

WEIGHTED = RowWeighted(SoftLabelDPO())
NAMED = RowFormat(weight="times", probability="share")


def test_an_objective_says_what_it_reads() -> None:
    assert DataRead.by(KTO()) == ("KTO", Compares.LABELLED, KTO.reads)
    assert DataRead.by(WEIGHTED) == ("RowWeighted", Compares.PAIRS, WEIGHTED.reads)
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
            "objective UnpairedBCO reads single completions with a label, and data.format gives pairs: set data.format "
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
