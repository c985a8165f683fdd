"""Arguments of `dpo-lightning plan`."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.plan import parser


def test_what_is_typed_is_what_is_read() -> None:
    options, rest = parser().parse_known_args(["--gpu", "A100", "--devices", "8", "--data.max_length=7"])
    assert options.gpu == "A100"
    assert options.devices == 8
    assert options.utilization == 0.4
    assert rest == ["--data.max_length=7"]


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["--devices", "many"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
