"""Where samples go: a fresh directory, one that a run goes on in, and one of which nothing is left."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from dpo_lightning.callbacks.sample_places import SamplePlaces
from dpo_lightning.report import Completions, SampledPrompt
from dpo_lightning.report.record import RunRecord, read_rows

ROWS = [SampledPrompt("p", Completions(["a"]), Completions(["b"]))]


def trainer(directory: Path, step: int = 0, loggers: int = 1, **settings: object) -> Mock:
    logger = Mock(spec=["save_dir"])
    given = {"fast_dev_run": False, "is_global_zero": True, "default_root_dir": str(directory), **settings}
    return Mock(global_step=step, log_dir=str(directory), loggers=[logger] * loggers, **given)


def steps(directory: Path) -> list[int]:
    return [row["step"] for row in read_rows(RunRecord(directory).samples)]


def begun(directory: Path, step: int = 0, earlier: str | None = None) -> SamplePlaces:
    places = SamplePlaces(None)
    places.earlier = earlier
    places.begin(trainer(directory, step))
    return places


def test_a_run_that_goes_on_begins_with_the_rows_up_to_its_checkpoint(tmp_path: Path) -> None:
    first = begun(tmp_path / "one")
    for step in (0, 2, 4):
        first.write(trainer(tmp_path / "one"), ROWS, step)
    for directory in ("two", "one"):
        again = begun(tmp_path / directory, step=3, earlier=first.record)
        again.write(trainer(tmp_path / directory), ROWS, 4)
        assert steps(tmp_path / directory) == [0, 2, 4]


def test_a_new_run_in_the_same_directory_begins_anew(tmp_path: Path) -> None:
    begun(tmp_path).write(trainer(tmp_path), ROWS, 4)
    begun(tmp_path).write(trainer(tmp_path), ROWS, 0)
    assert steps(tmp_path) == [0]


def test_an_earlier_record_that_is_gone_or_damaged_costs_its_rows(tmp_path: Path) -> None:
    (tmp_path / "damaged.jsonl").write_text("no json\n")
    begun(tmp_path / "run", step=3, earlier=str(tmp_path / "gone.jsonl"))
    with pytest.warns(
        UserWarning, match=r"samples of the earlier part of the run are left out: .*damaged\.jsonl, line 1"
    ):
        begun(tmp_path / "run", step=3, earlier=str(tmp_path / "damaged.jsonl"))
    assert steps(tmp_path / "run") == []


def test_without_a_logger_nothing_is_recorded(tmp_path: Path) -> None:
    places = SamplePlaces(None)
    places.begin(trainer(tmp_path, loggers=0))
    places.write(trainer(tmp_path, loggers=0), ROWS, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["samples.md"]
    assert places.record is None


def test_nothing_is_written_here_of_a_run_whose_directory_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places, run = SamplePlaces(None), trainer(tmp_path)
    run.log_dir = "memory://bucket/run"
    places.begin(run)
    places.write(run, ROWS, 1)
    assert [*tmp_path.iterdir()] == []
