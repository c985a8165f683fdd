"""Arguments of the loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.cli.parsers.rounds import parser


def test_a_config_is_named_and_the_directory_may_be():
    options = parser().parse_args(["--config", "a.yaml", "--out", "b", "--print"])
    assert (options.config, options.out, options.print) == (Path("a.yaml"), "b", True)


def test_without_a_config_there_is_nothing_to_run(capsys):
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: the following arguments are required: --config\n"
