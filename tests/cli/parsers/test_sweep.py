"""Arguments of `dpo-lightning sweep`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.cli.parsers.sweep import parser


def test_what_is_typed_is_what_is_read() -> None:
    words = [
        "--config",
        "run.yaml",
        "--over",
        "a=1,2",
        "--over=b=3",
        "--jobs=2",
        "--share_reference",
        "--trainer.max_steps=7",
    ]
    options, rest = parser().parse_known_args(words)
    assert options.over == ["a=1,2", "b=3"]
    assert (options.jobs, options.share_reference, options.dry_run) == (2, True, False)
    assert (options.out, options.best, options.mode, options.grid) == (Path("sweep"), None, None, None)
    assert rest == ["--config", "run.yaml", "--trainer.max_steps=7"]


@pytest.mark.parametrize("words", [["--jobs", "0"], ["--jobs", "many"], ["--mode", "up"], ["--over"]])
def test_a_wrong_argument_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(words)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
