"""The arguments of `generate`: what is left out, and what is wrong."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.generate import parser


def test_what_is_left_out_has_a_default() -> None:
    found = vars(parser().parse_args(["run.ckpt", "--prompt", "a", "--prompt", "b"]))
    assert found["prompt"] == ["a", "b"]
    assert (found["temperature"], found["samples"], found["max_new_tokens"], found["seed"]) == (1.0, 1, 256, 0)
    assert not any(found[name] for name in ("reference", "plain", "json", "config", "prompts"))
    of_one_path = ("out", "samples_at_once", "endpoint", "model", "key_variable", "requests_at_once", "timeout")
    assert all(found[name] is None for name in of_one_path)


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["run.ckpt", "--samples", "many"])
    assert capsys.readouterr().err == "error: argument --samples: invalid int value: 'many'\n"
