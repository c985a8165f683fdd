"""A question with a system text, an instruction with its input."""

from __future__ import annotations

from dpo_lightning.data.formats import AlpacaFormat, QuestionFormat
from tests.data.formats.common import system, user


def test_blank_parts_are_left_out():
    sides = {"chosen": "a", "rejected": "b"}

    assert QuestionFormat().examples({"system": "", "question": "q", **sides})[0].prompt == [user("q")]
    assert AlpacaFormat().examples({"instruction": "", "input": "q", **sides})[0].prompt == [user("q")]
    assert AlpacaFormat().examples({"instruction": "q", "input": " ", "system": "s", **sides})[0].prompt == [
        system("s"),
        user("q"),
    ]
