"""Arguments of `dpo-lightning inspect`."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.inspect import MOST_ROWS, OF_A_FILE, parser


def test_what_is_typed_is_what_is_read() -> None:
    options, rest = parser().parse_known_args(["--json", "--data.seed", "3"])
    assert options.json
    assert options.most_rows == MOST_ROWS
    assert options.tokenizer is None
    assert rest == ["--data.seed", "3"]
    assert not hasattr(parser(of_file=False).parse_known_args([])[0], OF_A_FILE[0])


def test_a_wrong_argument_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["--most_rows", "many"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
