"""What is kept of the reading of splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.data.reading_notes import ReadingNotes
from tests.helpers.runs import data, module, trainer


def test_a_line_is_said_once_and_drops_are_those_of_all_splits(caplog: pytest.LogCaptureFixture) -> None:
    notes = ReadingNotes(dropped={"a": {"empty": 2}, "b": {"empty": 1, "long": 4}})
    with caplog.at_level("INFO"):
        notes.tell("read as pairs")
        notes.tell("read as pairs")

    assert caplog.messages == ["read as pairs"]
    assert notes.all_dropped() == {"empty": 3, "long": 4}


def test_a_stream_is_said_once_although_each_stage_opens_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = data(tmp_path, streaming=True, val_split=str(tmp_path / "pairs.jsonl"))
    with caplog.at_level("INFO"):
        trainer(max_steps=1).fit(module(), source)

    assert len([message for message in caplog.messages if "read as pairs" in message]) == 1
