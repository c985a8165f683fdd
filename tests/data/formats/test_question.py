"""A question with a system text, an instruction with its input."""

from __future__ import annotations

from dpo_lightning.data.formats import AlpacaFormat, QuestionFormat
from dpo_lightning.data.formats.as_messages import read_examples
from tests.data.formats.common import system, user


def test_blank_parts_are_left_out():
    sides = {"chosen": "a", "rejected": "b"}

    def prompt(read, **row):
        return read_examples(read, {**row, **sides}, str)[0].prompt

    assert prompt(QuestionFormat(system="system"), system="", question="q") == [user("q")]
    assert prompt(AlpacaFormat(), instruction="", input="q") == [user("q")]
    assert prompt(AlpacaFormat(system="system"), instruction="q", input=" ", system="s") == [system("s"), user("q")]
