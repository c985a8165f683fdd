"""Local files of rows: which are read, and what is refused before."""

from __future__ import annotations

import gzip
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.data.reading.local_files import files_by_split, source_and_split
from dpo_lightning.data.reading.sources import load_rows
from dpo_lightning.errors import InputError

ROW = '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
CSV = "prompt,chosen,rejected\na,b,c\n"


def refusal(source: Any, **options: Any) -> str:
    """The one line with which a source is refused."""
    with pytest.raises(InputError) as refused:
        load_rows(source, "train", options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def directory(path: Path, **files: str | bytes) -> str:
    """A directory with files, whose names have the last `_` in the place of the dot."""
    for name, content in files.items():
        stem, _, suffix = name.rpartition("_")
        (path / f"{stem}.{suffix}").write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize("content", [b"null\n", gzip.compress(b"null\n")], ids=["plain", "packed"])
@pytest.mark.parametrize("name", ["a_json", "a_jsonl"])
def test_a_file_of_a_directory_that_would_end_the_process_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    said = refusal(directory(tmp_path, **{name: content}))
    assert said.endswith(f"{name.replace('_', '.')}: line 1: not a JSON object, but null")


def test_a_malformed_file_of_a_directory_is_named_with_its_line(tmp_path: Path) -> None:
    said = refusal(directory(tmp_path, a_jsonl=ROW, b_jsonl="{oops}\n"))
    assert "b.jsonl: line 1: malformed JSON" in said


def test_files_that_would_be_left_out_are_refused(tmp_path: Path) -> None:
    there = directory(tmp_path, a_jsonl=ROW, b_csv=CSV)
    assert "b.csv would be left out, beside a.jsonl" in refusal(there)
    assert len(load_rows(there, "train", {"data_files": "a.jsonl"})) == 1


def test_files_of_the_same_kind_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = directory(tmp_path, train_jsonl=ROW, more_jsonl=ROW)
    with caplog.at_level("INFO", "lightning.pytorch"):
        assert len(load_rows(there, "train", {})) == 1
    assert "not read, since others bear the name of a split: more.jsonl; data.load_options" in caplog.text


@pytest.mark.parametrize("name", ["a.jsonl.bak", "a.jsonl.gz"])
def test_a_copy_of_a_file_is_not_read_beside_it(tmp_path: Path, name: str) -> None:
    there = directory(tmp_path, a_jsonl=ROW)
    (tmp_path / name).write_bytes(gzip.compress(ROW.encode()) if name.endswith("gz") else ROW.encode())
    assert f"{name} would be read beside a.jsonl, whose copy it seems to be" in refusal(there)


def test_what_lies_beside_rows_by_custom_is_not(tmp_path: Path) -> None:
    there = directory(tmp_path, a_csv=CSV, dataset_infos_json="{}")
    (tmp_path / ".b.jsonl").write_text(ROW)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "b.jsonl").write_text(ROW)
    assert len(load_rows(there, "train", {})) == 1


def test_files_that_a_dataset_card_does_not_name_are_left_out_on_purpose(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: default\n  data_files: a.jsonl\n---\n"
    there = directory(tmp_path, a_jsonl=ROW, b_csv=CSV, README_md=card)
    assert len(load_rows(there, "train", {})) == 1


@pytest.mark.parametrize("given", [[], [3], None, 3, ""])
def test_a_mapping_is_from_splits_to_paths(given: Any) -> None:
    assert refusal({"train": given}).startswith("data.dataset: a mapping is from the name of a split to the path of")
    assert refusal({1: "a.jsonl"}).startswith("data.dataset: a mapping is from the name of a split to the path of")


def test_what_is_no_file_is_not_said_to_be_missing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        before = Path.cwd()
        os.chdir(tmp_path)  # a socket's path has at most some hundred characters
        opened.bind("a.jsonl")
        os.chdir(before)
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "rows").mkdir()
    for name in ("a.jsonl", "loop.jsonl"):
        assert refusal(str(tmp_path / name)).endswith("no file that can be read")
    assert refusal({"train": str(tmp_path / "rows")}).endswith("rows: a directory: give its files")


@pytest.mark.parametrize("url", ["https://host/a.jsonl", "s3://bucket/rows"])
def test_a_url_is_none(url: str) -> None:
    assert refusal(url) == f"data.dataset: {url} is a URL: download it, and give the file"


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 5000 + ".jsonl", "./" + "x" * 5000])
def test_a_name_that_is_too_long_is_shortened(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"no such|cannot be loaded"):
        load_rows(name, "train", {})


@pytest.mark.parametrize("option", ["revision", "name", "data_files", "data_dir", "path", "trust_remote_code"])
def test_an_option_that_nothing_reads_is_refused(tmp_path: Path, option: str) -> None:
    file = directory(tmp_path, a_jsonl=ROW) + "/a.jsonl"
    assert refusal(file, **{option: "x"}).startswith(f"data.load_options.{option} means nothing for files that")


def test_an_option_that_a_reader_does_not_know_is_named(tmp_path: Path) -> None:
    assert refusal(directory(tmp_path, a_csv=CSV) + "/a.csv", foo=1).startswith(
        "data.load_options.foo means nothing for these files: the options of their reader are delimiter, "
    )


@pytest.mark.parametrize("columns", ["prompt,prompt,chosen,rejected", "prompt,chosen,rejected,chosen"])
def test_a_column_that_a_header_names_twice_is_refused(tmp_path: Path, columns: str) -> None:
    said = refusal(directory(tmp_path, a_csv=f"{columns}\na,b,c,d\n") + "/a.csv")
    assert "the header names `" in said
    assert "` twice: give each column a name of its own" in said


def test_a_column_whose_name_ends_in_a_number_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,prompt.1,chosen,rejected\na,b,c,d\n")
    assert load_rows(str(tmp_path / "a.csv"), "train", {}).column_names[1] == "prompt.1"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[1, 2]", "row 0 (from 0): not a JSON object, but 1"),
        (json.dumps([json.loads(ROW)] * 3 + [4]), "row 3 (from 0): not a JSON object, but 4"),
    ],
)
def test_a_list_of_other_things_is_refused_by_row(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert refusal(str(tmp_path / "a.json")) == f"data.dataset: {tmp_path}/a.json: {line}"


def test_a_packed_file_without_rows_is_said_to_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b""))
    assert refusal(str(tmp_path / "a.jsonl.gz")).endswith("a.jsonl.gz: split 'train' has no rows")


def test_a_file_in_the_place_of_a_split() -> None:
    assert source_and_split("rows", "held.jsonl[:3]") == ("held.jsonl", "train[:3]")
    assert source_and_split("rows", "test[:3]") == ("rows", "test[:3]")
    assert files_by_split("nobody/nothing") == {}
