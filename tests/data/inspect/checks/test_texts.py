"""Planted faults in what completions say."""

from __future__ import annotations

import pytest

from dpo_lightning.data.inspect import Severity
from tests.data.inspect.common import clean_labelled, clean_rows, conversations, findings, survey
from tests.helpers.tokenizers import CHATML, chat


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("empty completion", {"rejected": ""}),
        ("blank completion", {"chosen": " \n "}),
        ("identical completions", {"chosen": "the same", "rejected": "the same"}),
        ("same words", {"chosen": "Thus it is", "rejected": " thus  IT is\n"}),
    ],
)
def test_it_is_a_warning_with_the_row(name, row):
    rows = clean_rows(20)
    rows[3].update(row)
    found = findings(survey(rows))
    assert found[name].severity is Severity.WARNING
    assert found[name].rows == {"train": [3]}
    assert [other for other, finding in found.items() if finding.severity > Severity.INFO] == [name]


def test_refusals_that_are_preferred():
    rows = clean_rows(20)
    rows[2]["chosen"] = "I'm sorry, but I can't help with that."
    rows[5]["rejected"] = "As an AI language model, I have no opinion."
    found = findings(survey(rows))["preferred refusals"]
    assert found.severity is Severity.INFO
    assert found.rows == {"train": [2]}
    assert found.said == "1 of 20 rows (5 %) prefer a refusal, 1 have one on the other side"
    for row in rows[:8]:
        row["chosen"] = "I cannot assist with that."
    assert findings(survey(rows))["preferred refusals"].severity is Severity.WARNING


def test_refusals_with_labels():
    rows = clean_labelled(20)
    rows[2]["completion"] = rows[3]["completion"] = "I cannot help with that."
    found = findings(survey(rows))["preferred refusals"]
    assert found.rows == {"train": [2]}
    assert found.said.endswith("1 have one on the other side")


@pytest.mark.parametrize("character", ["\x1b", "\u202e", "\u200b", "\ufeff", "\x00", "\U000e0041"])
def test_characters_that_cannot_be_seen(character):
    rows = clean_rows(20)
    rows[4]["rejected"] += f"a{character}b"
    found = findings(survey(rows))["unseen characters"]
    assert found.severity is Severity.INFO
    assert found.rows == {"train": [4]}


@pytest.mark.parametrize("seen", ["\n\t", "naïve – “quoted”", "مرحبا", "日本", "👩‍👧"])
def test_characters_that_can_be_seen(seen):
    rows = clean_rows(20)
    rows[4]["rejected"] += seen
    assert "unseen characters" not in findings(survey(rows))


def test_control_tokens_in_text():
    rows = clean_rows(20)
    rows[1]["prompt"] += " </s> "
    found = findings(survey(rows))["control tokens in text"]
    assert found.severity is Severity.INFO
    assert found.rows == {"train": [1]}
    spelled = findings(survey([{**row, "prompt": f"<s>{row['prompt']}"} for row in rows]))["control tokens in text"]
    assert spelled.severity is Severity.WARNING


def test_markup_of_another_template():
    rows = clean_rows(20)
    rows[1]["prompt"] = "<|im_start|>user\nhello<|im_end|>"
    found = findings(survey(rows))["markup in text"]
    assert found.severity is Severity.INFO
    assert found.rows == {"train": [1]}
    marked = [{**row, "prompt": f"[INST] {row['prompt']} [/INST]"} for row in rows]
    assert findings(survey(marked))["markup in text"].severity is Severity.WARNING


def test_text_beside_a_chat_template():
    rows = clean_rows(20)
    assert findings(survey(rows, tokenizer=chat(CHATML)))["template not applied"].severity is Severity.WARNING
    assert "template not applied" not in findings(survey(conversations(), tokenizer=chat(CHATML)))
