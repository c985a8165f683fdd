"""Rows that are looked at: all, a sample, the first ones of a stream."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from datasets import Dataset

from dpo_lightning import RowFormat, ScoredListFormat, ScoredPairsFormat, UnpairedFormat
from dpo_lightning.data.inspect.row_sources import StreamRows, TableRows
from dpo_lightning.data.reading.sources import Keys
from dpo_lightning.data.streaming.opening import open_rows
from dpo_lightning.errors import InputError
from tests.data.inspect.common import clean_rows, split

ROWS = Dataset.from_list(clean_rows(50))


def numbers(source: TableRows) -> list[int]:
    return [row[0] for block in source.blocks() for row in block]


def test_a_sample_is_in_order_and_the_same_for_a_seed():
    found = numbers(TableRows(ROWS, most=20, seed=3))
    assert found == sorted(set(found)) == numbers(TableRows(ROWS, most=20, seed=3))
    assert len(found) == 20
    assert found != [*range(20)]
    assert numbers(TableRows(ROWS, most=50)) == [*range(50)]


def test_ignored_columns_are_left_out():
    assert TableRows(ROWS, ["prompt", "none"]).table.column_names == ["chosen", "rejected"]


def test_a_line_of_a_stream_that_is_no_row_is_named(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1, "b": 2}\n' * 70 + "[1]\n" + '{"a": 3}\n' * 9)
    with pytest.raises(InputError, match="line 71: not a JSON object"):
        list(StreamRows(open_rows(str(path), "train", {}, Keys()), ["b"], 75).blocks())
    path.write_text('{"a": 1, "b": 2}\n' * 70)
    rows = [row for block in StreamRows(open_rows(str(path), "train", {}, Keys()), ["b"], 75).blocks() for row in block]
    assert rows == [(number, {"a": 1}) for number in range(70)]


@pytest.mark.parametrize(
    "row_format",
    [
        RowFormat(),
        UnpairedFormat(),
        ScoredPairsFormat(score="scores", take="all_pairs"),
        ScoredListFormat(score="scores"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_every_row_is_kept_dropped_or_refused(row_format):
    rng = random.Random(0)
    texts = [" a", " b", "", " ", None, " long" * 100]
    rows = [
        {
            "prompt": rng.choice(["p", "q" * 500, None, "r"]),
            "chosen": rng.choice(texts),
            "rejected": rng.choice(texts),
            "completions": [rng.choice(texts) for _ in range(3)],
            "scores": [rng.choice([0.0, 1.0, None]) if rng.random() < 0.2 else 1.0 * rng.randint(0, 2) for _ in "abc"],
        }
        for _ in range(150)
    ]
    read = split(rows, row_format=row_format)
    assert read.looked_at == 150 == read.rows_kept + read.rows_dropped + len(read.refused)
    assert min(read.rows_kept, read.rows_dropped, len(read.refused)) > 0
    assert len({each.row for each in read.refused} | set(read.undecided)) == len(read.refused) + len(read.undecided)
