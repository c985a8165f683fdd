"""The report in a terminal: 80 columns, plain where there is none, nothing of the data obeyed."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from dpo_lightning.data.inspect import Report, Seen
from dpo_lightning.data.inspect.terminal import print_report
from tests.data.inspect.common import clean_rows, survey
from tests.helpers.tokenizers import words

EVIL = "\x1b[2J\u202eevil\u200b [red]markup[/red] </s>"


def half_scored(seen: Seen) -> Seen:
    return seen._replace(scored=[np.arange(len(ids)) % 2 == 0 for ids in seen.completion_ids])


def printed(change: Callable[[Seen], Seen] = lambda seen: seen, evil: str = "", **settings) -> str:
    rows = [{**row, "chosen": row["chosen"] + evil} for row in clean_rows(20)]
    rows[3]["chosen"] = ""
    read = survey(rows, tokenizer=words())
    train = replace(read.train, examples=[change(each) for each in read.train.examples])
    report = Report.of(replace(read, splits={"train": train}))
    file = io.StringIO()
    print_report(report, Console(**{"file": file, "width": 80, "highlight": False, **settings}))
    return file.getvalue()


def test_it_fits_into_80_columns():
    assert max(map(len, printed(evil=EVIL).splitlines())) <= 80


def test_nothing_of_a_row_is_obeyed():
    text = printed(evil=EVIL)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\u200b" not in text
    assert r"\x1b[2J\u202eevil\u200b" in re.sub(r"\n", "", text)
    assert "[red]markup[/red]" in re.sub(r"\n", " ", text)


def test_every_part_is_there():
    text = printed()
    parts = "pairs.jsonl: read as RowFormat", "Lengths: tokens", "█", "tree, the prompt once", "prompt (not trained)"
    assert [part for part in parts if part not in text] == []
    assert re.search(r"chosen \(\d+ tokens trained\)", text)
    assert "Findings: 0 errors, 1 warning, 0 for information" in text
    assert "warning empty completion\n1 of 20 rows (5 %) have an empty completion.\nrows: train 3\n" in text


def test_without_colours_what_is_not_trained_stands_in_marks():
    assert "[not trained: " in printed(half_scored)
    assert "[not trained: " not in printed()


def test_in_colours_it_is_dim():
    text = printed(half_scored, force_terminal=True, color_system="standard")
    assert "\x1b[2m" in text
    assert "[not trained: " not in text


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(half_scored, force_terminal=True)
    assert "[not trained: " in text
    assert not re.search(r"\x1b\[3\d", text)
