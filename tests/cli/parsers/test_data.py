"""Arguments of `dpo-lightning data`."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.data import parser


def test_what_is_typed_is_what_is_read() -> None:
    options, rest = parser().parse_known_args(
        ["export", "--output", "rows.jsonl", "--config=run.yaml", "--data.clean=true"]
    )
    assert str(options.output) == "rows.jsonl"
    assert options.config == ["run.yaml"]
    assert rest == ["--data.clean=true"]


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["export"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
