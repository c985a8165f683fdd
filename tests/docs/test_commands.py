"""What is wrong on a page is noticed: the harness of the pages refuses what a reader could not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import commands, stand_ins
from tests.docs.blocks import commands_in


def nothing_left() -> Path:
    raise AssertionError("no page named what an earlier run has left")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("make nosuch", "no target nosuch"),
        ("pip install '.[nosuch]'", "no extra {'nosuch'}"),
        ("python examples/nosuch.py", "no file examples/nosuch.py"),
        ("python -m benchmarks.nosuch", "no module benchmarks.nosuch"),
        ("nosuch --flag", "nothing here knows what `nosuch` is"),
        ("dpo-lightning nosuch", "ended with"),
        ("dpo-lightning fit --model.nosuch=1 --model.policy=m --data.dataset=x", "ended with 2"),
        ("srun dpo-lightning fit --trainer.nosuch=1 --model.policy=m --data.dataset=x", "ended with 2"),
    ],
)
def test_a_line_that_a_reader_could_not_run_fails(line: str, said: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception), match=said.replace("{", r"\{").replace("[", r"\[")):
        commands.run(line, nothing_left)


def test_a_flag_that_an_own_command_lacks_fails() -> None:
    commands.run("dpo-lightning export x.ckpt --out model", nothing_left, parsed_only=True)
    with pytest.raises(AssertionError, match="dpo-lightning export has no --nosuch"):
        commands.run("dpo-lightning export x.ckpt --nosuch model", nothing_left, parsed_only=True)


def test_lines_are_read_as_a_shell_does() -> None:
    script = "# nothing\n\nmake test   # all of it\ndpo-lightning fit \\\n  --config run.yaml\n"
    assert [line.split() for line in commands_in(script)] == [
        ["make", "test"],
        ["dpo-lightning", "fit", "--config", "run.yaml"],
    ]
    commands.run('eval "$(dpo-lightning --version)"', nothing_left)
    commands.run("NAME=1 make test", nothing_left)


def test_what_an_earlier_run_has_left_is_brought_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    left = tmp_path / "earlier"
    (left / "checkpoints").mkdir(parents=True)
    (left / "checkpoints" / "step=5.ckpt").write_text("weights")
    for _ in range(2):
        stand_ins.bring("checkpoints/step=100.ckpt", lambda: left)
        stand_ins.bring("--config", nothing_left)
        stand_ins.bring("run.yaml", nothing_left)
    assert [path.name for path in Path("checkpoints").iterdir()] == ["step=5.ckpt"]


@pytest.mark.parametrize("word", ["last", "--ckpt_path=last", "--ckpt_path=checkpoints/step=100.ckpt", "checkpoints"])
def test_what_has_been_left_is_found_under_each_way_to_name_it(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "earlier" / "checkpoints").mkdir(parents=True)
    stand_ins.bring(word, lambda: tmp_path / "earlier")
    assert Path("checkpoints").is_dir()


def test_what_is_printed_goes_where_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands.run("dpo-lightning completion bash > kept.sh", nothing_left)
    assert "complete" in Path("kept.sh").read_text()
