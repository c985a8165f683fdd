"""The measurement of a stream's memory, on a small file."""

from __future__ import annotations

from benchmarks.stream_memory import read, write


def test_a_whole_pass_is_read(tmp_path):
    write(tmp_path / "rows.jsonl", 70)
    found = read(tmp_path / "rows.jsonl")
    assert found["examples"] == 70
    assert found["peak_mib"] > 1
