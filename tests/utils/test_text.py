"""Errors of other libraries in one line."""

from __future__ import annotations

import pytest

from dpo_lightning.utils.text import nearest, one_line


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
