"""The arguments of `rank`: what is left out, and what is wrong."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.rank import parser


def test_what_is_left_out_has_a_default() -> None:
    found = vars(parser().parse_args(["in.jsonl", "--out", "out.jsonl"]))
    assert (str(found["file"]), str(found["out"]), found["best"]) == ("in.jsonl", "out.jsonl", False)
    assert not any(found[name] for name in ("function", "reward_model", "run", "judge", "plain"))


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["in.jsonl"])
    assert capsys.readouterr().err == "error: the following arguments are required: --out\n"
