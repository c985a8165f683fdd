"""Arguments of `dpo-lightning doctor`."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.doctor import parser


def test_what_is_typed_is_what_is_read() -> None:
    options, rest = parser().parse_known_args(["--need", "bf16", "--need", "gpu"])
    assert options.need == ["bf16", "gpu"]
    assert options.model is None
    assert rest == []


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["--need"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
