"""Arguments of `dpo-lightning cache`."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.cache import parser


def test_what_is_typed_is_what_is_read() -> None:
    options, rest = parser().parse_known_args(["prune", "--key", "a", "--key", "b"])
    assert options.action == "prune"
    assert options.key == ["a", "b"]
    assert options.cache_dir is None
    assert rest == []


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["empty"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
