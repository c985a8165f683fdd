"""Rows of the files between the steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates, is_prompt, read_candidates

CHAT = [{"role": "user", "content": "hello"}]


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [
        Candidates("hi", ["a", "b"], [1.0, -2.5], [True, False], "policy", {"subset": "chat"}),
        Candidates(CHAT, ["c"]),
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(each.row()) for each in rows) + "\n\n")
    assert read_candidates(file, "score FILE") == rows
    assert "scores" not in rows[1].row()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"completions": ["a"]}, "line 1, prompt: give a text"),
        ({"prompt": "", "completions": ["a"]}, "line 1, prompt: give a text"),
        ({"prompt": "p", "completions": "a"}, "line 1, completions: give a list"),
        ({"prompt": "p", "completions": []}, "line 1, completions: give a list"),
        ({"prompt": "p", "completions": ["a", "b"], "scores": [1]}, "scores: give finite numbers, one for each of 2"),
        ({"prompt": "p", "completions": ["a"], "scores": [True]}, "scores: give finite numbers"),
        ({"prompt": "p", "completions": ["a"], "scores": [float("nan")]}, "scores: give finite numbers"),
        ({"prompt": "p", "completions": ["a"], "ended": [1]}, "ended: give true or false"),
        ({"prompt": "p", "completions": ["a"], "model": 3}, "model: give a name"),
        ([1], "line 1: a row is an object"),
    ],
)
def test_a_row_that_is_something_else_is_named(tmp_path: Path, row: Any, said: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row))
    with pytest.raises(InputError, match=said):
        read_candidates(file, "score FILE")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_a_row_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError, match="there is no row in it"):
        read_candidates(tmp_path / "rows.jsonl", "score FILE")
    with pytest.raises(InputError, match=r"score FILE .*other\.jsonl"):
        read_candidates(tmp_path / "other.jsonl", "score FILE")


def test_messages_need_a_role() -> None:
    assert is_prompt(CHAT)
    assert not is_prompt([{"content": "hello"}])
    assert not is_prompt([])
