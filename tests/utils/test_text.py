"""Errors of other libraries in one line."""

from __future__ import annotations

import pytest

from dpo_lightning.utils.text import one_line


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
