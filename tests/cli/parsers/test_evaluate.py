"""The arguments of `evaluate`: what is left out, and what is wrong."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.evaluate import parser


def test_what_is_left_out_has_a_default() -> None:
    found = vars(parser().parse_args(["bench.jsonl"]))
    assert (found["file"], found["split"], found["out"], found["plot"]) == ("bench.jsonl", "train", None, None)
    assert (found["ties"], found["as_text"]) == (None, False)


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["bench.jsonl", "--ties", "best"])
    assert capsys.readouterr().err.startswith("error: argument --ties: invalid choice: 'best'")
