"""The splits of a config, read by the doctor."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

from dpo_lightning import InputError, PreferenceDataModule, Source
from dpo_lightning.cli.surveys import held_out_share, places, survey
from tests.data.common import data, write
from tests.data.inspect.common import clean_labelled, clean_rows
from tests.helpers.tiny import tiny_tokenizer


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return {
        "train": write(tmp_path / "train.jsonl", clean_rows(30)),
        "test": write(tmp_path / "test.jsonl", clean_rows(8, seed=1)),
        "more": write(tmp_path / "more.jsonl", clean_rows(6, seed=2)),
    }


@contextmanager
def no_bar(text: str, rows: int):
    yield lambda count: None


def test_every_split_and_file_is_read(files):
    own = {key: files[key] for key in ("train", "test")}
    module = data(own, train_split="train[:20]", val_split={"a": "test[:3]", "b": files["more"]}, test_split="test")
    assert [each.name for each in places(module)] == ["train", "val/a", "val/b", "test"]
    read = survey(module, tiny_tokenizer(), bar=no_bar)
    assert {name: split.rows for name, split in read.splits.items()} == {"train": 20, "val/a": 3, "val/b": 6, "test": 8}
    assert read.format == "RowFormat, from the columns `prompt`, `chosen`, `rejected`"
    assert (read.unit, read.max_length, read.batch_pairs, read.has_template) == ("tokens", 1024, 4, False)
    assert (read.bos, read.eos) == (1, 2)


def test_a_share_is_no_split(files):
    module = data(files["train"], val_split={"a": 0.2, "b": files["more"]})
    assert [each.name for each in places(module)] == ["train", "val/b"]
    assert held_out_share(module) == 0.2
    assert held_out_share(data(files["train"])) == 0


def test_without_a_tokenizer_words_are_counted(files):
    read = survey(data(files["train"]), None, bar=no_bar)
    assert (read.unit, read.max_length, read.tokenized) == ("words", None, False)
    first = read.train.examples[0]
    assert read.decode(first.completion_ids[0].tolist()) == clean_rows(1)[0]["chosen"].strip()


def test_labelled_rows_are_recognised(tmp_path: Path):
    file = write(tmp_path / "labelled.jsonl", clean_labelled(10))
    read = survey(data(file), None, bar=no_bar)
    assert read.format.startswith("UnpairedFormat, from the columns")
    assert len(read.train.kept) == 10


def test_several_sources_have_a_place_each(files):
    sources = [{"dataset": files["train"], "name": "a"}, {"dataset": files["more"], "name": "b"}]
    module = PreferenceDataModule(tokenizer=tiny_tokenizer(), sources=sources, val_split=files["test"])
    read = survey(module, tiny_tokenizer(), bar=no_bar)
    assert {name: split.rows for name, split in read.splits.items()} == {"train/a": 30, "train/b": 6, "val": 8}
    assert len(read.train.kept) == 36
    assert [*read.others] == ["val"]


def test_the_first_rows_of_a_stream_are_looked_at(files):
    module = PreferenceDataModule(files["train"], tiny_tokenizer(), streaming=True)
    read = survey(module, tiny_tokenizer(), most_rows=12, bar=no_bar)
    assert (read.train.rows, read.train.looked_at) == (None, 12)
    assert [each.row for each in read.train.kept] == [*range(12)]


def test_what_cannot_stream_is_told_with_the_key_of_its_source(files, tmp_path: Path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text("[1]\n")
    for dataset, said in (({"test": files["test"]}, "split 'train': a stream has"), (str(broken), "dataset: .*row 0")):
        sources = [Source(each, name=name, weight=1) for name, each in (("a", files["train"]), ("b", dataset))]
        module = PreferenceDataModule(tokenizer=tiny_tokenizer(), sources=sources, streaming=True)
        with pytest.raises(InputError, match=rf"^data\.sources\[1\]\.{said}"):
            survey(module, None, bar=no_bar)


def test_a_sample_is_taken_of_each_split(files):
    read = survey(data(files["train"], val_split=files["test"]), tiny_tokenizer(), most_rows=10, bar=no_bar)
    assert [split.looked_at for split in read.splits.values()] == [10, 8]


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"data\.val_split"):
        survey(data(write(tmp_path / "a.jsonl", clean_rows(4)), val_split="none"), None, bar=no_bar)
