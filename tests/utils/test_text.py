"""Errors of other libraries in one line."""

from __future__ import annotations

import os
import random

import pytest

from dpo_lightning.errors import InputError, RunError
from dpo_lightning.utils.text import nearest, one_line, shared_start, shown, visible, visible_markdown


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (ValueError("no such\n   file:\t here"), "no such file: here"),
        (KeyError(), "KeyError"),
        ("  two\nwords ", "two words"),
        ("", ""),
    ],
)
def test_white_space_is_folded_and_silence_has_a_name(said: object, line: str) -> None:
    assert one_line(said) == line


def test_the_first_characters_are_kept() -> None:
    assert one_line("ab " * 200, 5) == "ab ab"
    assert len(one_line("x" * 999)) == 300


@pytest.mark.parametrize(("name", "found"), [("objectiv", "objective"), ("Lora", "lora"), ("optimiser", "optimizer")])
def test_a_mistyped_name_is_like_one(name: str, found: str) -> None:
    assert nearest(name, ["objective", "lora", "optimizer"]) == found


def test_another_name_is_like_none() -> None:
    assert nearest("threads", ["objective", "lora"]) is None
    assert nearest("threads", []) is None
    assert nearest("nothing", ["Hinge", "LoRA"]) is None


UNSEEN = [
    "\x1b[31m",
    "\r",
    "\x08",
    "\x07",
    "\x9b",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\u2028",
    "\ud800",
    "\U000e0041",
]


@pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)
def test_what_cannot_be_seen_is_spelled_out(unseen):
    for function in (visible, visible_markdown, one_line, shown):
        text = function(f"before{unseen}after")
        assert text.isprintable()
        assert text.startswith("before")
        assert text.endswith("after")
        assert len(text) > len("beforeafter") + len(unseen)


def test_what_can_be_seen_stays():
    text = "naïve 你好 👍 [bold]\tthe\nend"
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](b) *c* `d` <b>e</b> f|g", r"\[a\](b) \*c\* \`d\` &lt;b&gt;e&lt;/b&gt; f\|g"),
        ("one\n\n# two\n<script>", r"one \# two &lt;script&gt;"),
        ("https://a.b www.c.d e@f.g", "https&#58;&#47;&#47;a.b www&#46;c.d e&#64;f.g"),
        ("![x](y) \\[ &lt;", r"!\[x\](y) \\\[ &amp;lt;"),
    ],
)
def test_markdown_shows_the_text_as_it_is(text, expected):
    assert visible_markdown(text) == expected


def test_a_message_holds_no_secret():
    assert (
        one_line("401 for https://me:word@host") == shown("401 for https://me:word@host") == "401 for https://***@host"
    )


def test_errors_quote_others_with_what_cannot_be_seen_spelled_out():
    for kind in (InputError, RunError):
        assert str(kind("no column `a\x1b[31m\u202e`\nhere")) == "no column `a\\x1b[31m\\u202e`\nhere"


def test_what_two_texts_share_ends_before_the_first_character_that_differs():
    rng = random.Random(0)
    for _ in range(500):
        texts = ["".join(rng.choices("aé", [9, 1], k=rng.randrange(30))) for _ in range(2)]
        assert shared_start(*texts) == os.path.commonprefix(texts)  # noqa: RUF071 - of texts
