"""The data of axolotl's configs as ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl, config, told

CHAT = {"path": "rows.jsonl", "type": "chat_template.default"}


def data(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = config(axolotl(**changes))["data"]
    return found


def test_a_set_with_names_of_its_own() -> None:
    roles = {"user": ["customer", "user"], "assistant": ["agent"]}
    entry = {
        **CHAT,
        "split": "train[:50%]",
        "name": "en",
        "field_messages": "talk",
        "field_chosen": "good",
        "roles": roles,
    }
    found = data(datasets=[entry])
    assert found["dataset"] == "rows.jsonl"
    assert found["train_split"] == "train[:50%]"
    assert found["load_options"] == {"name": "en"}
    settings = {"chosen": "good", "prompt": "talk", "roles": {"customer": "user", "agent": "assistant"}}
    assert found["format"] == {"class_path": "ShareGPTFormat", "init_args": settings}


def test_files_of_a_kind() -> None:
    assert data(datasets=[{**CHAT, "path": "json", "data_files": ["a.jsonl", "b.jsonl"]}])["dataset"] == [
        "a.jsonl",
        "b.jsonl",
    ]
    with pytest.raises(InputError, match="give data_files"):
        axolotl(datasets=[{**CHAT, "path": "json"}])


def test_a_file_that_is_read_as_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("")
    with pytest.raises(InputError, match="rename the file to end in"):
        axolotl(datasets=[{**CHAT, "path": str(tmp_path / "rows.txt"), "ds_type": "json"}])
    assert data(datasets=[{**CHAT, "ds_type": "json"}])["dataset"] == "rows.jsonl"


def test_several_sets_are_sources() -> None:
    found = data(datasets=[CHAT, {**CHAT, "path": "more.jsonl"}, {**CHAT, "path": "more.jsonl"}])
    assert [source["dataset"] for source in found["sources"]] == ["rows.jsonl", "more.jsonl", "more.jsonl"]
    assert [source.get("name") for source in found["sources"]] == [None, "more_1", "more_2"]
    assert "dataset" not in found


@pytest.mark.parametrize(
    ("changes", "train", "held_out"),
    [
        ({"val_set_size": 0.05}, None, 0.05),
        ({"val_set_size": 40}, "train[40:]", "train[:40]"),
        ({"test_datasets": [{**CHAT, "split": "test"}]}, None, "test"),
        ({"test_datasets": [{**CHAT, "path": "test.jsonl"}]}, None, "test.jsonl"),
    ],
)
def test_what_is_held_out(changes: dict[str, Any], train: str | None, held_out: Any) -> None:
    found = data(**changes)
    assert (found.get("train_split"), found["val_split"]) == (train, held_out)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"val_set_size": 0.1, "test_datasets": [CHAT]}, "val_set_size is given as well"),
        ({"val_set_size": 40, "datasets": [CHAT, {**CHAT, "path": "b.jsonl"}]}, "give a share below 1"),
        ({"test_datasets": [{**CHAT, "path": "other/set"}]}, "write its rows to a file"),
        ({"test_datasets": [{**CHAT, "path": "t.jsonl", "type": "chatml.intel"}]}, "give them the same type"),
        ({"excess_length_strategy": "raise"}, "counts the long ones"),
        ({"datasets": [{**CHAT, "shards": 4}]}, r"datasets\[0\].shards \(give a slice"),
        ({"datasets": [{"path": "r.jsonl", "type": "alpaca"}]}, r"datasets\[0\].type"),
    ],
)
def test_what_has_no_equal_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        axolotl(**changes)


def test_long_rows_are_told_unless_they_are_cut_there_too() -> None:
    assert "left out there" in told(axolotl(sequence_len=64))["sequence_len"]
    assert "sequence_len" not in told(axolotl(sequence_len=64, excess_length_strategy="truncate"))


def test_repeats_are_left_out() -> None:
    assert data(dataset_exact_deduplication=True)["clean"] == {"duplicates": "exact"}
