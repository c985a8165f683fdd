"""Streams as a DataModule opens them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from datasets import Dataset, IterableDataset, IterableDatasetDict

from dpo_lightning import TPO, PreferenceDataModule, RowFormat, Source, UnpairedFormat
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.reading.sources import Keys
from dpo_lightning.data.streaming.loader import Start
from dpo_lightning.data.streaming.opening import open_rows, opened
from dpo_lightning.data.streaming.source import HEAD
from dpo_lightning.data.streaming.stream import StreamSettings
from dpo_lightning.errors import InputError
from dpo_lightning.utils.ranks import DataRanks
from tests.data.common import rows, write
from tests.helpers.ranked import RankedRows
from tests.helpers.tiny import tiny_tokenizer


def reader(row_format=RowFormat(), length=40):  # noqa: B008 - frozen
    module = PreferenceDataModule("unread", tiny_tokenizer(), max_length=length, format=row_format)
    return module.reader()


def made(tmp_path, given, row_format=RowFormat(), length=40):  # noqa: B008 - frozen
    return opened([Source(write(tmp_path / "rows.jsonl", given))], reader(row_format, length))


def test_the_content_follows_from_all_that_decides_on_the_batches(tmp_path):
    first = made(tmp_path, rows(9)).content(7)
    assert made(tmp_path, rows(9)).content(7) == first
    others = [
        made(tmp_path, rows(9)).content(8),
        made(tmp_path, rows(9), length=39).content(7),
        made(tmp_path, rows(9), RowFormat(completion_template="{completion}!")).content(7),
        made(tmp_path, rows(9)[::-1]).content(7),
        made(tmp_path, rows(10)).content(7),
    ]
    assert len({first, *others}) == 6


@dataclass(frozen=True)
class Looks(RowFormat):
    """Finds out what the first rows are."""

    seen: list[Any] = field(default_factory=list)

    def found_in(self, rows, wanted=None):
        self.seen.extend(rows)
        return RowFormat()


def test_the_format_is_found_in_the_first_rows(tmp_path):
    looks = Looks()
    stream = made(tmp_path, rows(120), looks)
    assert looks.seen == rows(100)
    (source,) = stream.sources
    assert type(source.tokenize.row_format) is RowFormat
    assert source.tokenize.columns == ("prompt", "chosen", "rejected")


def test_first_rows_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"rows\.jsonl, row 1 \(from 0\): no column `rejected`|field `rejected`: null"):
        made(tmp_path, [rows(1)[0], {"prompt": "a", "chosen": "b"}])
    (tmp_path / "rows.jsonl").write_text("\n")
    with pytest.raises(InputError, match="split train: no rows"):
        opened([Source(str(tmp_path / "rows.jsonl"))], reader())


def test_names_to_ignore_are_those_of_the_first_rows(tmp_path):
    given = [{**row, "images": "x.png"} for row in rows(5)]
    with pytest.raises(InputError, match=r"^data\.dataset: .*rows\.jsonl, split train: column `images`"):
        made(tmp_path, given)
    source = write(tmp_path / "rows.jsonl", given)
    for ignore in ("images", "imagse"):
        module = PreferenceDataModule(
            source, tiny_tokenizer(), max_length=40, format=RowFormat(ignore=[ignore, "images"]), streaming=True
        )
        if ignore == "images":
            module.prepare_data()
        else:
            with pytest.raises(InputError, match=r"data\.format\.ignore: there is no column `imagse`"):
                module.prepare_data()


def test_iterable_datasets_are_streams_by_split():
    given = IterableDataset.from_generator(lambda: iter(rows(5)))
    stream = open_rows(IterableDatasetDict({"dpo": given}), "dpo", {}, Keys())
    assert [raw.columns() for raw in stream.rows()] == rows(5)
    assert [*stream.rows()][4].named == "the stream, split dpo, row 4 (from 0)"
    assert len([*open_rows(given, "train", {}, Keys()).rows()]) == 5


def test_what_does_not_stream_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("prompt\nq\n")
    write(tmp_path / "a.jsonl", rows(3))
    cases = {
        "are in memory: leave data.streaming out": (Dataset.from_list(rows(3)), "train", {}),
        r"is a directory: give its files, as in .*/\*\.jsonl": (tmp_path, "train", {}),
        r"train_split 'train\[:3\]': a stream has the splits train, and no slices": (
            tmp_path / "a.jsonl",
            "train[:3]",
            {},
        ),
        "data.load_options.field means nothing for these files": (tmp_path / "a.csv", "train", {"field": "x"}),
        "data.load_options.cache_dir means nothing for files that stream": (
            tmp_path / "a.csv",
            "train",
            {"cache_dir": "x"},
        ),
        "data.load_options: name mean nothing for a stream": (
            IterableDataset.from_generator(lambda: iter(rows(5))),
            "train",
            {"name": "x"},
        ),
        "no such file": (tmp_path / "b.jsonl", "train", {}),
    }
    for said, given in cases.items():
        with pytest.raises(InputError, match=said):
            open_rows(*given, Keys())


def sources(tmp_path, **second):
    return [
        Source(write(tmp_path / f"{name}.jsonl", rows(9)), name=name, weight=1, **own)
        for name, own in {"a": {}, "b": second}.items()
    ]


def test_sources_are_known_by_content_and_weight(tmp_path):
    stream = opened(sources(tmp_path), reader())
    assert {name: state["weight"] for name, state in stream.states().items()} == {"a": 1, "b": 1}
    other = opened(sources(tmp_path, format=RowFormat(prompt_template="{prompt}!")), reader())
    assert stream.states()["a"] == other.states()["a"]
    assert stream.states()["b"]["content"] != other.states()["b"]["content"]
    assert stream.content(7) != other.content(7)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"format": UnpairedFormat()}, "'a' gives examples of the kind pairs, and 'b' of the kind labelled"),
        ({"split": "test"}, r"data\.sources\[1\]\.split 'test': a stream has the splits train"),
        ({"load_options": {"cache_dir": "x"}}, r"data\.sources\[1\]\.load_options\.cache_dir means nothing"),
        (
            {"format": RowFormat(prompt="q")},
            r"^data\.sources\[1\]\.dataset: source b: .*b\.jsonl, row 0 \(from 0\): no col",
        ),
    ],
)
def test_faults_of_a_source_are_named_by_its_key(tmp_path, second, said):
    with pytest.raises(InputError, match=said):
        opened(sources(tmp_path, **second), reader())


def test_what_is_bad_or_unread_behind_the_first_rows_is_told_as_in_a_table(tmp_path, caplog):
    late = [{**rows(1)[0], "source": "x"}] * 3
    caplog.set_level("INFO")
    settings = StreamSettings(1, 0, 0, 4, None)
    stream = made(tmp_path, rows(250) + late)
    assert len([*stream.epoch(settings, Start(0, 0, 1), DataRanks(1, 0))]) > 1
    assert "not read (in so many rows), and not in the first 200: `source` (3)" in caplog.text
    for row, said in (({**rows(1)[0], "images": "x.png"}, "column `images` is"), ({"prompt": "a"}, "field `chosen`")):
        stream = made(tmp_path, [*rows(250), row])
        with pytest.raises(InputError, match=rf"^data\.dataset: .*rows\.jsonl, row 250 \(from 0\): .*{said}"):
            [*stream.epoch(settings, Start(0, 0, 1), DataRanks(1, 0))]


def test_a_list_that_is_too_short_is_found_in_the_first_rows(tmp_path):
    source = write(tmp_path / "a.jsonl", [{**rows(1)[0], "prompt": "abc"}, {**rows(1)[0], "prompt": "ab"}])
    module = PreferenceDataModule(source, tiny_tokenizer(), max_length=90, format=RankedRows(), streaming=True)
    with pytest.raises(InputError, match=r"^data\.dataset: .*a\.jsonl, row 1 \(from 0\): 2 completions, and objective"):
        module.read_all(DataRead.by(TPO()))


def test_more_ranks_than_first_rows_share_the_rows_that_there_are(tmp_path, monkeypatch):
    stream = made(tmp_path, rows(HEAD + 3))
    settings = StreamSettings(7, 0, 0, batch_pairs=4, batch_tokens=None)
    ranks = DataRanks(HEAD + 50, HEAD + 2)
    monkeypatch.setattr(
        "dpo_lightning.data.streaming.stream.from_all_ranks",
        lambda told, group: [(rank, told[1]) for rank in range(ranks.world_size)],
    )
    (step,) = stream.epoch(settings, Start(0, 0, 1), ranks)
    assert [each.example.row for each in step.batch] == [HEAD + 2]
    with pytest.raises(InputError, match=r"^data\.dataset: .*: a rank has no row to train on: give 250 rows or more"):
        next(stream.epoch(settings, Start(0, 0, 1), ranks._replace(rank=HEAD + 3)))
