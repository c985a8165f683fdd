"""Arguments of `dpo-lightning init`."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.init import parser


def test_what_is_typed_is_what_is_read() -> None:
    options, rest = parser().parse_known_args(["--model", "m", "--data", "d", "--lora"])
    assert options.lora
    assert not options.full
    assert str(options.out) == "run.yaml"
    assert rest == []


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["--model", "m", "--data", "d", "--lora", "--full"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
