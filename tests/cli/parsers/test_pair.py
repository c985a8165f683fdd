"""The arguments of `pair`: what is left out, and what is wrong."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.pair import parser


def test_what_is_left_out_has_a_default() -> None:
    found = vars(parser().parse_args(["a.jsonl", "--out", "b.jsonl"]))
    assert (found["other"], found["how"], found["min_gap"], found["keep_cut"]) == (None, "best_worst", None, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.jsonl"], "the following arguments are required: --out"),
        (["a.jsonl", "--out", "b", "--how", "best"], "argument --how: invalid choice: 'best'"),
        (["a.jsonl", "--out", "b", "--min_gap", "much"], "argument --min_gap: invalid float value: 'much'"),
        (["a", "b", "c", "--out", "d"], "unrecognized arguments: c"),
    ],
)
def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(words)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}")
    assert error.count("\n") == 1
