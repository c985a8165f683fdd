"""Several sources read into one table."""

from __future__ import annotations

import pytest
from datasets import Dataset

from dpo_lightning import RowFormat, Source, UnpairedFormat
from dpo_lightning.data.mixing.reading import check_formats, parts_of, read_sources
from dpo_lightning.data.mixing.source import checked_sources
from dpo_lightning.errors import InputError

SOURCES = checked_sources([Source("a.jsonl", weight=1), Source("b.jsonl", weight=2, split="train[:9]")])


def tokenize(given, split, keys):
    """A row that says what was asked for."""
    name = given.name if isinstance(given, Source) else given
    return Dataset.from_list([{"said": f"{name} {split} {keys.split} {n}"} for n in range(9)])


def hold_out(rows, share):
    return rows.select(range(3, len(rows))), rows.select(range(3))


def read(**sets):
    return read_sources(SOURCES, {"val": {}, "test": {}, **sets}, tokenize, hold_out)


def test_sources_stand_one_after_the_other():
    tables = read()
    assert tables.rows.keys() == {"train"}
    assert tables.rows["train"]["said"][8:10] == [
        "a train data.sources[0].split 8",
        "b train[:9] data.sources[1].split 0",
    ]
    assert tables.sizes == {"a": 9, "b": 9}


def test_parts_stand_one_after_the_other():
    parts = parts_of(SOURCES, {"a": 9, "b": 9})
    assert [(part.name, part.start, part.size, part.taken) for part in parts] == [
        ("a", 0, 9, 6),
        ("b", 9, 9, 12),
    ]


def test_a_share_is_held_out_of_each_and_a_split_is_of_each():
    tables = read(val={"": 0.3}, test={"": "test"})
    assert [len(tables.rows[name]) for name in ("train", "val/a", "val/b")] == [12, 3, 3]
    assert tables.rows["test/b"]["said"][0] == "b test data.test_split 0"
    assert tables.sizes == {"a": 6, "b": 6}
    assert not {*tables.rows["train"]["said"]} & {*tables.rows["val/a"]["said"], *tables.rows["val/b"]["said"]}


def test_files_are_sets_of_their_own():
    tables = read(val={"": "c.jsonl[:3]"}, test={"x": "c.jsonl"})
    assert tables.rows.keys() == {"train", "val", "test/x"}
    assert tables.rows["val"]["said"][0] == "c.jsonl train[:3] data.val_split 0"


@pytest.mark.parametrize("place", [0.5, "validation"])
def test_a_named_set_is_a_file(place):
    with pytest.raises(InputError, match=r"data\.val_split\.x: with data\.sources, a set with a name is a file"):
        read(val={"x": place})


@pytest.mark.parametrize(
    ("formats", "default", "said"),
    [
        ((UnpairedFormat(), None), RowFormat(), "'a' gives examples of the kind labelled, and 'b' of the kind pairs"),
        ((RowFormat(margin="m"), None), RowFormat(), "'a' gives the columns margin, and 'b' none"),
        ((RowFormat(texts=["data_source"]), None), RowFormat(), "the format of 'a' has a column `data_source`"),
        ((RowFormat("x"), RowFormat("y")), RowFormat("z"), "each of data.sources has a format of its own"),
    ],
)
def test_other_examples_in_one_run_are_refused_by_the_names_of_the_sources(formats, default, said):
    given = checked_sources([Source(f"{name}.jsonl", format=each) for name, each in zip("ab", formats, strict=True)])
    with pytest.raises(InputError, match=said):
        check_formats(given, default)


def test_the_same_examples_of_other_columns_are_taken():
    check_formats(
        checked_sources([Source("a", format=RowFormat("question", margin="m")), Source("b")]), RowFormat(margin="n")
    )
