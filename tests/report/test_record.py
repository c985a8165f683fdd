"""The files of a run's record are written whole, and read whatever a kill has left."""

import json
import math
from pathlib import Path

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.report.record import (
    RunRecord,
    add_row,
    read_document,
    read_rows,
    write_document,
    write_rows,
)


def test_rows_that_are_added_and_written_are_read_again(tmp_path: Path) -> None:
    points = RunRecord(tmp_path / "version_0").points
    add_row(points, {"step": 1, "train/loss": 0.5})
    add_row(points, {"step": 2, "train/loss": math.nan, "where": tmp_path})
    assert read_rows(points) == [
        {"step": 1, "train/loss": 0.5},
        {"step": 2, "train/loss": None, "where": str(tmp_path)},
    ]
    write_rows(points, [{"step": 3, "text": "zwei\nZeilen   drei"}])
    assert read_rows(points) == [{"step": 3, "text": "zwei\nZeilen   drei"}]


def test_a_line_that_a_kill_has_cut_is_left_out_and_one_that_is_damaged_is_named(tmp_path: Path) -> None:
    points = RunRecord(tmp_path).points
    add_row(points, {"step": 1})
    with points.open("a", encoding="utf-8") as file:
        file.write('{"step": 2, "train/')
    assert read_rows(points) == [{"step": 1}]
    points.write_text('{"step": 1}\n[2]\n{"step": 3}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: no JSON object"):
        read_rows(points)


def test_what_is_not_there_has_no_rows_and_no_document(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    assert read_rows(record.pairs) == []
    assert read_document(record.facts) is None


def test_a_document_is_written_and_read_and_another_file_refused(tmp_path: Path) -> None:
    facts = RunRecord(tmp_path).facts
    write_document(facts, {"seconds": math.inf, "versions": {"torch": "2"}, "lines": ("a", "b")})
    assert read_document(facts) == {"seconds": None, "versions": {"torch": "2"}, "lines": ["a", "b"]}
    assert json.loads(facts.read_text(encoding="utf-8"))["versions"] == {"torch": "2"}
    facts.write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="a list, not an object"):
        read_document(facts)
    facts.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        read_document(facts)


def test_every_file_of_the_record_lies_in_its_folder(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    files = [record.facts, record.points, record.pairs, record.worst, record.samples, record.hints, record.data]
    assert {file.parent for file in files} == {tmp_path / "record"}
    assert len({file.name for file in files}) == len(files)
