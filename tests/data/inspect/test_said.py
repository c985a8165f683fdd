"""Facts about texts."""

from __future__ import annotations

import time

import pytest

from dpo_lightning.data.inspect.said import Fact, Said


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", {Fact.EMPTY}),
        (" \n\t", {Fact.BLANK}),
        ("so.", set()),
        ("so", {Fact.OPEN_END}),
        ("so?\n", {Fact.QUESTION}),
        ("so!", {Fact.EXCLAMATION}),
        ("a:\n  - b.\n\n  * c.", {Fact.BULLETS, Fact.PARAGRAPHS}),
        ("1) a.\n2) b.", {Fact.NUMBERED}),
        ("one\n \ntwo.", {Fact.PARAGRAPHS}),
        ("a\n## b.", {Fact.HEADINGS}),
        ("2 # 3.", set()),
        ("**so**.", {Fact.BOLD}),
        ("2 ** 3.", set()),
        ("so.\n | a | b |\n.", {Fact.TABLE}),
        ("so \U0001f600.", {Fact.EMOJI}),
        ("```py```", {Fact.CODE}),
        ("a\u200bb.", {Fact.UNSEEN}),
        ("[INST] a.", {Fact.MARKUP}),
        ("I cannot help with that.", {Fact.REFUSAL}),
    ],
)
def test_what_holds_of_a_text(text, holds):
    (facts,) = Said.of("", [text]).completions
    assert {fact for fact in Fact if facts & fact} == holds


def test_facts_are_apart():
    assert sum(Fact) == 2 * max(Fact) - 1


def test_texts_are_compared():
    alike = Said.of("so?", ["It is", " it  IS\n"])
    assert (alike.same, alike.same_words) == (False, True)
    assert (Said.of("so?", ["a", "a"]).same, Said.of("so?", ["a", "a"]).same_words) == (True, False)
    assert (Said.of("so?", ["a"]).same, Said.of("so?", ["a", "b"]).same_words) == (False, False)
    assert Said.of(" SO ?", ["it is", "ITIS"]).key == alike.key
    assert len({alike.key, Said.of("so", ["It is", " it  IS"]).key, Said.of("so?", ["ItisItis", ""]).key}) == 3


@pytest.mark.parametrize(
    "text", ["\n" * 200_000, " " * 200_000, "* " * 100_000, "\n " * 100_000, "1" * 200_000, "|" * 200_000]
)
def test_a_huge_text_is_looked_at_in_one_pass(text):
    start = time.process_time()
    Said.of("", [text + "x"])
    assert time.process_time() - start < 1, "what is quadratic takes minutes"
