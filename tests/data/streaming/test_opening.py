"""Streams as a DataModule opens them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from dpo_lightning import RowFormat
from dpo_lightning.data.streaming.opening import content_of, opened
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.errors import InputError
from tests.data.common import rows, write
from tests.helpers.tiny import tiny_tokenizer


def made(tmp_path, given, row_format=RowFormat(), length=40):  # noqa: B008 - frozen
    source = write(tmp_path / "rows.jsonl", given)
    return opened(source, "train", {}, row_format, ExampleTokenizer(tiny_tokenizer(), length), None)


def test_the_content_follows_from_all_that_decides_on_the_batches(tmp_path):
    first = content_of(made(tmp_path, rows(9)), 7)
    assert content_of(made(tmp_path, rows(9)), 7) == first
    others = [
        content_of(made(tmp_path, rows(9)), 8),
        content_of(made(tmp_path, rows(9), length=39), 7),
        content_of(made(tmp_path, rows(9), RowFormat(completion_template="{completion}!")), 7),
        content_of(made(tmp_path, rows(9)[::-1]), 7),
        content_of(made(tmp_path, rows(10)), 7),
    ]
    assert len({first, *others}) == 6


@dataclass(frozen=True)
class Looks(RowFormat):
    """Finds out what the first rows are."""

    seen: list[Any] = field(default_factory=list)

    def found_in(self, rows):
        self.seen.extend(rows)
        return RowFormat()


def test_the_format_is_found_in_the_first_rows(tmp_path):
    looks = Looks()
    stream = made(tmp_path, rows(100), looks)
    assert looks.seen == rows(64)
    assert type(stream.tokenize.row_format) is RowFormat
    assert stream.tokenize.columns == ("prompt", "chosen", "rejected")


def test_first_rows_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"rows\.jsonl, row 1 \(from 0\): no column `rejected`|field `rejected`: null"):
        made(tmp_path, [rows(1)[0], {"prompt": "a", "chosen": "b"}])
    (tmp_path / "rows.jsonl").write_text("\n")
    with pytest.raises(InputError, match="split train: no rows"):
        opened(str(tmp_path / "rows.jsonl"), "train", {}, RowFormat(), ExampleTokenizer(tiny_tokenizer(), 9), None)
