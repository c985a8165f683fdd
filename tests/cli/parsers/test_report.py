"""Arguments of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.cli.parsers.report import parser


def test_runs_are_paths_and_the_page_may_be_named() -> None:
    options = parser().parse_args(["a", "b/c", "--out", "x.html"])
    assert (options.runs, options.out) == ([Path("a"), Path("b/c")], Path("x.html"))


def test_a_run_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: the following arguments are required: RUN_DIR\n"
