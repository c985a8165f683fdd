"""The bar of scoring is shown by the first process, where one is wanted."""

from __future__ import annotations

import pytest

from dpo_lightning.reference.cache.scoring_run import ScoringRun


def test_the_first_process_counts_rows(capsys: pytest.CaptureFixture[str]) -> None:
    with ScoringRun(progress=True).bar("scoring", rows=5) as advance:
        advance(2)
        advance(3)

    shown = capsys.readouterr().out
    assert "scoring" in shown
    assert "5/5" in shown


@pytest.mark.parametrize("run", [ScoringRun(), ScoringRun(progress=True, is_first=False)], ids=["quiet", "second"])
def test_nobody_else_shows_one(run: ScoringRun, capsys: pytest.CaptureFixture[str]) -> None:
    with run.bar("scoring", rows=5) as advance:
        advance(5)

    assert capsys.readouterr().out == ""


def test_one_process_without_a_trainer_decides_and_writes_by_itself() -> None:
    run = ScoringRun()

    assert (run.rank, run.ranks, run.is_first, run.is_writer) == (0, 1, True, True)
    assert run.broadcast("thing") == "thing"
    with run.context():
        run.barrier()
