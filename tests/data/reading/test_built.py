"""Directories: `datasets` finds the files, and their values are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import DownloadManager

from dpo_lightning.data.reading.built import Built, loader_options
from dpo_lightning.data.reading.sources import load_rows, load_split
from dpo_lightning.errors import InputError

MESSAGES = [{"role": "user", "content": "2024-01-02"}]


def rows(directory: Path, split: str = "train", **options: Any) -> list[dict[str, Any]]:
    return [*load_rows(str(directory), split, options)]


def test_message_lists_behind_texts_stay_lists(tmp_path: Path) -> None:
    given = [{"a": "x" * 200_000}] * 60 + [{"a": MESSAGES}, {"a": "007"}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    assert rows(tmp_path)[-2:] == given[-2:]


def test_texts_of_a_csv_and_what_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a;b\n007;TRUE\n")
    (tmp_path / "test.csv").write_text("a;b\nNA;\n")
    assert rows(tmp_path, sep=";") == [{"a": "007", "b": "TRUE"}]
    assert rows(tmp_path, "test", delimiter=";", keep_default_na=False) == [{"a": "NA", "b": ""}]


def test_a_tsv_and_parts_of_a_split(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"train-0000{number}-of-00002.tsv").write_text(f"a\tb\n0{number}\t,\n")
    assert rows(tmp_path) == [{"a": "00", "b": ","}, {"a": "01", "b": ","}]


def test_the_card_names_classes_and_says_how_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: a.jsonl\ndataset_info:\n  features:\n"
        "  - name: label\n    dtype:\n      class_label:\n        names:\n          '0': bad\n          '1': good\n"
        "  - name: text\n    dtype: string\n---\n"
    )
    (tmp_path / "a.jsonl").write_text('{"label": 1, "text": "2024-01-02"}\n')
    assert rows(tmp_path) == [{"label": "good", "text": "2024-01-02"}]


@pytest.mark.parametrize("option", ["skiprows", "nrows"])
def test_an_option_that_only_the_reader_of_datasets_has_is_refused(tmp_path: Path, option: str) -> None:
    (tmp_path / "a.csv").write_text("a\nx\n")
    with pytest.raises(InputError, match=f"^data.load_options.{option} means nothing for these files: the options of"):
        rows(tmp_path, **{option: 1})


def test_what_only_loads_is_told_from_what_finds_files(tmp_path: Path) -> None:
    assert {"split", "streaming", "num_proc", "keep_in_memory"} <= loader_options()
    assert not {"name", "data_files", "data_dir", "revision", "token", "cache_dir"} & loader_options()
    (tmp_path / "a.csv").write_text("a\nx\n")
    with pytest.raises(InputError, match=r"^data.load_options.num_proc means nothing for files on this machine"):
        rows(tmp_path, num_proc=2)


def test_files_of_no_rows_are_left_to_datasets(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    assert not Built(str(tmp_path), {}).is_read_here
    assert rows(tmp_path) == [{"text": "one"}, {"text": "two"}]


def test_rows_of_a_file_that_was_downloaded_are_named_by_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(tmp_path / f"{name}.jsonl") for name in ("a", "b", "broken")]
    copies = {name: str(tmp_path / f"hash-{number}") for number, name in enumerate(names)}
    for name, content in zip(names, ('{"a": 1}\n{"a": 2}\n', '{"a": 3}\n', '{"a": 1}\n{\n'), strict=True):
        Path(copies[name]).write_text(content)
        Path(name).touch()
    monkeypatch.setattr(DownloadManager, "download", lambda self, given: [copies[name] for name in given])
    split = load_split("json", "train", {"data_files": names[:2], "cache_dir": str(tmp_path)})
    assert [tuple(each) for each in split.files] == [(names[0], 0, 2), (names[1], 0, 1)]
    with pytest.raises(InputError, match=rf"^data\.dataset: {names[2]}: line 2: malformed JSON"):
        load_split("json", "train", {"data_files": names[2], "cache_dir": str(tmp_path)})
