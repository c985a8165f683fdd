"""Lengths of samples, read as they are added."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.callbacks import sampled_lengths
from dpo_lightning.callbacks.sampled_lengths import SampledLengths
from dpo_lightning.report.record import RunRecord, add_row


def lengths_of_samples(record: RunRecord) -> tuple[float, float, int] | None:
    return SampledLengths(record.samples).read()


def test_lengths_are_those_of_the_last_samples_beside_the_reference(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    assert lengths_of_samples(record) is None
    row = {"prompt": "p", "reference": ["one two", "one two three four"]}
    add_row(record.samples, {"step": 0, **row, "policy": ["one two", "one two three four"]})
    add_row(record.samples, {"step": 50, **row, "policy": ["a b c d e f", "a b"]})
    assert lengths_of_samples(record) == (4.0, 3.0, 2)


def test_without_a_reference_the_first_samples_stand_for_it(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    add_row(record.samples, {"step": 0, "prompt": "p", "policy": ["one two"], "reference": None})
    add_row(record.samples, {"step": 9, "prompt": "p", "policy": ["a b c d e f"]})
    assert lengths_of_samples(record) == (6.0, 2.0, 1)
    record.samples.write_text("no row\n")
    assert lengths_of_samples(record) is None


def test_a_row_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    loads = sampled_lengths.json.loads
    monkeypatch.setattr(sampled_lengths.json, "loads", lambda line: read.append(line) or loads(line))
    record = RunRecord(tmp_path)
    lengths = SampledLengths(record.samples)
    for step in range(5):
        add_row(record.samples, {"step": step, "policy": ["a " * (step + 1)], "reference": ["a b"]})
        assert lengths.read() == lengths.read() == (step + 1, 2, 1)
    assert len(read) == 5
    record.samples.write_text('{"step": 0, "policy": ["a b c"]}\n{"step": 1, "pol')
    assert lengths.read() == (3, 3, 1)


def test_a_file_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    assert SampledLengths(tmp_path).read() is None
    (tmp_path / "file").touch()
    assert SampledLengths(tmp_path / "file" / "below").read() is None
