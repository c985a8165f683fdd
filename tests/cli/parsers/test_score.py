"""The arguments of `score`: what is left out, and what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.cli.parsers.score import parser


def test_what_is_left_out_is_none() -> None:
    found = vars(parser().parse_args(["a.jsonl", "--out", "b.jsonl", "--judge", "m"]))
    assert (found.pop("file"), found.pop("out"), found.pop("judge")) == (Path("a.jsonl"), Path("b.jsonl"), "m")
    assert {*found.values()} == {None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.jsonl"], "the following arguments are required: --out"),
        (["a.jsonl", "--out", "b", "--compare", "some"], "argument --compare: invalid choice: 'some'"),
        (["a.jsonl", "--out", "b", "--func", "f"], "unrecognized arguments: --func f"),
    ],
)
def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(words)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}")
    assert error.count("\n") == 1
