"""Surveys of rows in memory, with planted faults and without."""

from __future__ import annotations

import random
from typing import Any

from datasets import Dataset

from dpo_lightning import RowFormat, UnpairedFormat
from dpo_lightning.data import Format
from dpo_lightning.data.inspect import CHECKS, Finding, Severity, Split, Survey, run_checks
from dpo_lightning.data.inspect.reading import TokenReader, WordReader, read_split
from dpo_lightning.data.inspect.row_sources import TableRows
from dpo_lightning.data.tokenize import ExampleTokenizer
from dpo_lightning.data.tokenize.scored import Scored
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import turn

Row = dict[str, Any]
_NOUNS = "sun moon star cloud rain snow wind storm leaf stone river hill bird fish tree road lamp door song bell"
WORDS = _NOUNS.split()


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def clean_rows(count: int = 200, seed: int = 0) -> list[Row]:
    """Pairs without a fault, whose sides are drawn alike."""
    rng = random.Random(seed)

    def completion() -> str:
        return f" {text(rng, rng.randint(6, 12))}."

    return [{"prompt": f"{text(rng, 7)}?", "chosen": completion(), "rejected": completion()} for _ in range(count)]


def clean_labelled(count: int = 200, seed: int = 0) -> list[Row]:
    """Completions with as many desirable as undesirable labels."""
    return [
        {"prompt": row["prompt"], "completion": row["chosen"], "label": number % 2 == 0}
        for number, row in enumerate(clean_rows(count, seed))
    ]


def conversations(count: int = 20) -> list[Row]:
    """The same as lists of messages."""
    return [
        {
            "prompt": [turn("user", row["prompt"])],
            "chosen": [turn("assistant", row["chosen"])],
            "rejected": [turn("assistant", row["rejected"])],
        }
        for row in clean_rows(count)
    ]


def clean_lists(count: int = 200) -> list[Row]:
    """Four completions of each prompt, with scores that say nothing of their looks."""
    rng = random.Random(1)
    drawn = zip(*(clean_rows(count, seed) for seed in (0, 2)), strict=True)
    return [
        {
            "prompt": one["prompt"],
            "completions": [each[side] for each in (one, other) for side in ("chosen", "rejected")],
            "scores": rng.sample([1.0, 2.0, 3.0, 4.0], 4),
        }
        for one, other in drawn
    ]


def split(
    rows: list[Row],
    tokenizer: Any = None,
    row_format: Format | None = None,
    max_length: int = 400,
    scored: Scored = "assistant",
    **settings: Any,
) -> Split:
    encode = ExampleTokenizer(tokenizer or tiny_tokenizer(), max_length, scored=scored)
    source = TableRows(Dataset.from_list(rows))
    return read_split(source, row_format or format_of(rows), TokenReader(encode), "here", **settings)


def format_of(rows: list[Row]) -> Format:
    return UnpairedFormat() if "label" in rows[0] else RowFormat()


def survey(
    rows: list[Row],
    held_out: list[Row] | None = None,
    tokenizer: Any = None,
    row_format: Format | None = None,
    max_length: int = 400,
    scored: Scored = "assistant",
    **settings: Any,
) -> Survey:
    """Read rows as `train`, and those that are held out as `val`."""
    tokenizer = tokenizer or tiny_tokenizer()
    splits = {"train": split(rows, tokenizer, row_format, max_length, scored)}
    if held_out is not None:
        splits["val"] = split(held_out, tokenizer, row_format, max_length, scored, name="val")
    return Survey(
        "pairs.jsonl",
        "RowFormat",
        splits,
        tokenizer.decode,
        max_length=max_length,
        has_template=tokenizer.chat_template is not None,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
        **settings,
    )


def survey_in_words(rows: list[Row]) -> Survey:
    """Read rows without a tokenizer."""
    reader = WordReader()
    read = read_split(TableRows(Dataset.from_list(rows)), format_of(rows), reader, "here")
    return Survey("pairs.jsonl", "RowFormat", {"train": read}, reader.decode, unit="words")


def findings(read: Survey) -> dict[str, Finding]:
    return {finding.name: finding for finding in run_checks(CHECKS, read)}


def names_above_info(read: Survey) -> list[str]:
    return [finding.name for finding in run_checks(CHECKS, read) if finding.severity > Severity.INFO]
