"""Checks and what they find; the page of documentation has all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dpo_lightning import ScoredListFormat, ScoredPairsFormat
from dpo_lightning.data.inspect import CHECKS, Check, Found, Severity, run_checks
from tests.data.inspect.common import (
    clean_labelled,
    clean_lists,
    clean_rows,
    conversations,
    findings,
    names_above_info,
    survey,
    survey_in_words,
)
from tests.helpers.tokenizers import CHATML, chat

PLANTED = Path(__file__).parent / "checks"
PAGE = Path(__file__).parents[3] / "docs/inspect.md"


def test_the_gravest_comes_first_otherwise_in_order():
    found = {"a": Severity.INFO, "b": Severity.ERROR, "c": None, "d": Severity.WARNING, "e": Severity.ERROR}
    checks = [
        Check(name, "", "do", lambda _, severity=severity: None if severity is None else Found(severity, "so"))
        for name, severity in found.items()
    ]
    read = survey(clean_rows(2))
    assert [finding.name for finding in run_checks(checks, read)] == ["b", "e", "d", "a"]
    assert run_checks(checks, read)[0].remedy == "do"


@pytest.mark.parametrize("rows", [clean_rows(300), clean_labelled(300)], ids=["pairs", "labelled"])
def test_clean_data_has_nothing_above_information(rows):
    held_out = clean_rows(50, seed=7) if "chosen" in rows[0] else clean_labelled(50, seed=7)
    assert names_above_info(survey(rows, held_out)) == []
    assert names_above_info(survey_in_words(rows)) == []


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        (conversations(200), {"tokenizer": chat(CHATML)}),
        (clean_lists(), {"row_format": ScoredListFormat(score="scores")}),
        (clean_lists(), {"row_format": ScoredPairsFormat(score="scores")}),
    ],
    ids=["conversations", "lists", "scored pairs"],
)
def test_of_clean_data_of_each_kind_there_is_nothing_to_say(rows, settings):
    assert findings(survey(rows, **settings)) == {}


def test_clean_data_has_nothing_to_say_of_pairs():
    assert findings(survey(clean_rows(300), clean_rows(50, seed=7))) == {}


def test_names_are_unique_and_sentences_end():
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.meaning.endswith("."), check.name
        assert re.fullmatch(r"[A-Z][^\n]+\.", check.remedy), check.name


def test_every_check_has_a_fault_that_is_planted():
    tests = "".join(file.read_text(encoding="utf-8") for file in sorted(PLANTED.glob("test_*.py")))
    looked_up = {*re.findall(r'\["([^"\n]+)"\]|^ +\("([^"\n]+)", \{', tests, re.MULTILINE)}
    named = {name for names in looked_up for name in names}
    assert [check.name for check in CHECKS if check.name not in named] == []


def test_the_page_explains_every_check():
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    explained = [tuple(cell.strip("| ") for cell in row) for row in rows[2:] if len(row) == 3]
    assert [row for row in explained if row[0] in {check.name for check in CHECKS}] == [
        (check.name, check.meaning, check.remedy) for check in CHECKS
    ]
