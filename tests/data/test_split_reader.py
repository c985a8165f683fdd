"""A split of a source, read as the settings of a run say."""

from __future__ import annotations

import pytest
from datasets import Dataset

from dpo_lightning import DPO, AutoFormat, PreferenceDataModule, RowFormat, Source, UnpairedFormat
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.reading.sources import Keys
from dpo_lightning.data.split_reader import SplitReader, check_before_rows
from dpo_lightning.errors import InputError
from tests.data.common import rows, write
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import chat

PAIRS = DataRead.by(DPO())


def reader(tokenizer=None, **settings):
    module = PreferenceDataModule("unread", tokenizer or tiny_tokenizer(), max_length=60, **settings)
    return module.reader()


def test_a_split_of_a_file_is_read_and_tokenised(tmp_path):
    source = write(tmp_path / "rows.jsonl", rows(7))
    table = reader().tokenized(source, "train[2:5]", Keys())
    assert table["row"][:] == [0, 1, 2]
    decode = tiny_tokenizer().decode
    assert [decode(ids, skip_special_tokens=True) for ids in table["prompt_ids"]] == [
        row["prompt"] for row in rows(7)[2:5]
    ]


def test_a_source_has_its_format_its_options_and_its_name(tmp_path):
    text = "q;chosen;rejected\na;b;c\nd;;f\n"
    (tmp_path / "a.csv").write_text(text)
    source = Source(str(tmp_path / "a.csv"), format=RowFormat("q"), load_options={"sep": ";"}, name="one")
    keys = Keys("data.sources[0].dataset", "data.sources[0].split")
    with pytest.raises(
        InputError,
        match=r"^data\.sources\[0\]\.dataset: source one: .*a\.csv, split train, row 1 \(from 0\): field `chosen`",
    ):
        reader(format=RowFormat("unread")).tokenized(source, "train", keys)
    (tmp_path / "a.csv").write_text(text.replace(";;", ";e;"))
    assert len(reader(format=RowFormat("unread")).tokenized(source, "train", keys)) == 2
    with pytest.raises(InputError, match=r"^data\.sources\[0\]\.split: .*'test'"):
        reader().tokenized(source, "test", keys)


def test_names_to_ignore_are_gathered_over_splits():
    read = reader(format=RowFormat(ignore=["system"]))
    read.tokenized(Dataset.from_list([{**row, "system": "s"} for row in rows(3)]), "train", Keys())
    assert read.names >= {"prompt", "chosen", "rejected", "system"}


def test_the_format_is_found_in_rows():
    found = reader().settled(AutoFormat(), [{"prompt": "a", "completion": "b", "label": True}] * 3, "here")
    assert isinstance(found, UnpairedFormat)


@pytest.mark.parametrize("row_format", [UnpairedFormat()])
def test_what_the_objective_does_not_read_is_refused_before_rows_are_read(row_format):
    check_before_rows(PAIRS, [RowFormat(), AutoFormat()], predicting=False)
    with pytest.raises(InputError, match="DPO"):
        check_before_rows(PAIRS, [RowFormat(), row_format], predicting=False)


def test_arguments_of_a_template_come_before_those_of_the_run():
    read: SplitReader = reader(
        chat("{{ a }}{{ b }}{% for each in messages %}{{ each.content }}{% endfor %}"),
        chat_template_kwargs={"a": 1, "b": 1},
        max_prompt_length=9,
    )
    encode = read.encode({"b": 2})
    assert encode.template_arguments == {"a": 1, "b": 2}
    assert (encode.max_length, encode.max_prompt_length) == (60, 9)
