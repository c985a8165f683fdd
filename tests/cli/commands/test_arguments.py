"""A wrong argument of a command is answered with one line."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.commands.arguments import CommandParser


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error: the following arguments are required: --out"),
        (["--out", "a", "--rows", "many"], "error: argument --rows: invalid int value: 'many'"),
        (["--out", "a", "--row-s=1"], "error: unrecognized arguments: --row-s=1"),
    ],
    ids=["missing", "no number", "unknown"],
)
def test_a_wrong_argument_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = CommandParser("command")
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", type=int)

    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(arguments)

    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"{line}\n"
