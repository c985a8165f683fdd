"""Chunks of raw rows, tokenised in any number of processes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dpo_lightning import TPO, RowFormat
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.formats import Format
from dpo_lightning.data.streaming.row_streams import RawRow
from dpo_lightning.data.streaming.tokens import (
    TRUNCATED,
    Chunk,
    RowTokenizer,
    StreamTokenizer,
    chunks,
    examples_from,
    tokenized_chunks,
)
from dpo_lightning.data.tokenize import ExampleTokenizer, Outcome
from dpo_lightning.data.tokenize.outcomes import REPEATS
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.losses import PlackettLuceDPO
from tests.data.common import MIXED, rows
from tests.helpers.ranked import RankedRows
from tests.helpers.tiny import tiny_tokenizer


def raw(given, start=0):
    return [RawRow(n, "f.jsonl", n, row) for n, row in enumerate(given, start)]


def tokenizer(row_format: Format = RowFormat(), size: int | None = None, length: int = 40, **settings) -> RowTokenizer:  # noqa: B008 - frozen
    return RowTokenizer(
        row_format, ExampleTokenizer(tiny_tokenizer(), length), Vocabulary(tiny_tokenizer(), size), **settings
    )


def found(given, *, first=0, num_workers=0, **settings):
    tokenize = StreamTokenizer([tokenizer(**settings)])
    return [*tokenized_chunks(tokenize, chunks(iter(raw(given)), first), num_workers=num_workers, seed=0)]


def test_the_tokens_are_those_of_a_row_alone_whatever_the_processes():
    given = rows(150)
    alone = [tokenizer().tokenized([(n, each)]).taken for n, each in enumerate(raw(given))]
    for num_workers in (0, 3):
        assert [each.taken for each in found(given, num_workers=num_workers)] == [
            [taken for row in alone[start : start + 64] for taken in row] for start in (0, 64, 128)
        ]
    assert [taken.example.row for row in alone for taken in row] == [*range(150)]


def test_what_is_dropped_is_counted():
    chunk = found(MIXED)[0]
    assert dict(chunk.counted) == {
        (0, Outcome.KEPT): 9,
        (0, Outcome.EMPTY_COMPLETION): 1,
        (0, Outcome.IDENTICAL): 2,
        (0, Outcome.NO_ROOM): 1,
        (0, Outcome.EMPTY_PROMPT): 1,
        (0, Outcome.NO_PREFERENCE): 0,
        (0, TRUNCATED): 1,
        (0, REPEATS): 0,
    }
    assert [each.example.row for each in chunk.taken] == [0, 1, 2, 3, 4, 9, 11, 12, 13]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bad_row_is_named_in_one_line_from_any_process(num_workers):
    with pytest.raises(InputError, match=r"^data\.dataset: f\.jsonl, row 70 \(from 0\): field `chosen`: null$"):
        found([*rows(70), {"prompt": "a", "chosen": None, "rejected": "b"}], num_workers=num_workers)


def test_a_token_that_the_model_lacks_is_named_with_its_row():
    with pytest.raises(InputError, match=r"f\.jsonl, row 1 \(from 0\): 1 token has no row in the model"):
        found(
            [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "}", "chosen": "b", "rejected": "c"}], size=60
        )


def test_a_list_that_is_too_short_for_the_loss_is_named():
    given = [*enumerate(raw({"prompt": text, "chosen": "c", "rejected": "d"} for text in ("abc", "ab")))]
    with pytest.raises(InputError, match=r"f\.jsonl, row 1 \(from 0\): 2 completions, and objective TPO compares 3 of"):
        tokenizer(RankedRows(), fitted=DataRead.by(TPO())).tokenized(given)
    assert len(tokenizer(RankedRows(), fitted=DataRead.by(PlackettLuceDPO())).tokenized(given).taken) == 2


def test_a_missing_column_is_null_as_in_a_table():
    with pytest.raises(InputError, match="field `prompt`: null"):
        found([{"chosen": "b", "rejected": "c"}], columns=("prompt", "chosen"))


def test_rows_of_sources_are_tokenised_by_their_own_formats_and_keep_their_order():
    own = [tokenizer(name="a"), tokenizer(RowFormat(prompt_template="{prompt}!"), name="b")]
    mixed = [each._replace(source=number % 2) for number, each in enumerate(raw(rows(6)))]
    chunk = StreamTokenizer(own).tokenized(Chunk(10, mixed))
    assert [(each.example.columns["data_source"], each.example.row) for each in chunk.taken] == [
        ("ab"[n % 2], n) for n in range(6)
    ]
    assert [each.position for each in chunk.taken] == [(n, 1) for n in range(10, 16)]
    assert [tiny_tokenizer().decode(each.example.prompt_ids)[-1] == "!" for each in chunk.taken] == [False, True] * 3
    assert chunk.counted[0, Outcome.KEPT] == chunk.counted[1, Outcome.KEPT] == 3


@dataclass(frozen=True)
class Twice(RowFormat):
    """Two examples in a row."""

    def examples(self, row, quote=lambda text: text):
        return super().examples(row, quote) * 2


def test_examples_behind_a_position_go_on_in_the_middle_of_a_row():
    given = found(rows(3), first=5, row_format=Twice())
    all_of_them = [each.position for each in examples_from(given, (0, 0), lambda _: None)]
    assert all_of_them == [(5, 1), (5, 2), (6, 1), (6, 2), (7, 1), (7, 2)]
    told = []
    rest = [each.position for each in examples_from(given, (6, 1), told.append)]
    assert rest == all_of_them[3:]
    assert told == given
