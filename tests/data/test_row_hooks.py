"""The rows of a DataModule, as its settings and its module say."""

from __future__ import annotations

import pytest
from datasets import Dataset

from dpo_lightning import PreferenceDataModule, RowFormat, Source
from dpo_lightning.errors import InputError
from tests.data.common import data, ready, rows, write
from tests.helpers.tiny import tiny_tokenizer


def test_the_first_example_is_shown_with_what_is_scored(caplog):
    with caplog.at_level("INFO"):
        ready().show_first()
    assert "the first example of the training split, row 0; what is scored stands between [[ and ]]:" in caplog.text
    assert "yes" in caplog.text


def test_the_first_example_of_a_stream_is_shown(tmp_path, caplog):
    given = [{"prompt": "a", "chosen": "b", "rejected": "b"}, *rows(3)]  # nothing to tell apart in the first row
    source = ready(write(tmp_path / "rows.jsonl", given), streaming=True, length_grouped=None)
    with caplog.at_level("INFO"):
        source.show_first()
    assert "the first example of the training split, row 1;" in caplog.text


def test_names_to_ignore_are_compared_with_all_splits(tmp_path):
    marked = write(tmp_path / "marked.jsonl", [{**row, "system": "s"} for row in rows(4)])
    plain = Dataset.from_list(rows(6))
    ready(plain, val_split=marked, format=RowFormat(ignore=["system"]))
    with pytest.raises(InputError, match=r"data\.format\.ignore: there is no column `sistem` in the data: is `system`"):
        ready(plain, val_split=marked, format=RowFormat(ignore=["system", "sistem"]))


def test_without_a_policy_there_is_no_name_of_a_tokenizer():
    with pytest.raises(InputError, match=r"data\.tokenizer: give a name or directory"):
        _ = data(tokenizer=None).tokenizer


def test_sources_are_compared_before_they_are_read():
    sources = [Source("a.jsonl", format=RowFormat(margin="m")), Source("b.jsonl", format=RowFormat())]
    with pytest.raises(InputError, match="'a' gives the columns margin, and 'b' none"):
        PreferenceDataModule(tokenizer=tiny_tokenizer(), sources=sources).prepare_data()
