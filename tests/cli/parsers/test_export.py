"""Arguments of `dpo-lightning export`."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.export import parser


def test_what_is_typed_is_what_is_read() -> None:
    options, rest = parser().parse_known_args(["a.ckpt", "--out", "model"])
    assert str(options.source) == "a.ckpt"
    assert options.out == "model"
    assert not options.merged
    assert rest == []


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
