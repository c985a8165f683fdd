"""The whole loop: killed in two of its steps it ends as one that was not, bit for bit."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from pathlib import Path

import pytest

from dpo_lightning.cli.loop import running
from dpo_lightning.cli.loop.outcome import outcomes, table
from dpo_lightning.cli.loop.running import call_in_process, run_rounds
from dpo_lightning.cli.loop.settings import read_config
from dpo_lightning.cli.loop.steps import plan
from dpo_lightning.errors import InputError
from dpo_lightning.module import PreferenceModule
from dpo_lightning.rounds.kept_rows import KeptRows
from tests.cli.loop.a_loop import in_this_process, written
from tests.helpers.resumable import in_processes

DIES = {"rows": (KeptRows, "add"), "step": (PreferenceModule, "training_step")}


def die_in(what: str, calls: int) -> None:
    """Have this process killed in that call of a method, before it does anything."""
    owner, name = DIES[what]
    method, left = getattr(owner, name), [calls]

    def called(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **kwargs)

    setattr(owner, name, called)


def loop(rank: int, directory: Path, dies: tuple[str, int] | None) -> None:
    os.chdir(directory)
    if dies is not None:
        die_in(*dies)
    run_rounds(plan(read_config(Path("loop.yaml"), None)), in_this_process)


def files(directory: Path) -> dict[str, bytes]:
    """What the steps have made."""
    found = [*directory.glob("out/*/*.jsonl"), *directory.glob("out/*/model/*.safetensors")]
    return {str(each.relative_to(directory)): each.read_bytes() for each in found}


def test_a_loop_that_is_killed_twice_ends_as_one_that_was_not(tmp_path, monkeypatch):
    """Once between the rows of the second round's scores, once in the steps of its fit."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for directory in (whole, killed):
        written(directory, model=directory == whole)
    (killed / "model").symlink_to(whole / "model")
    assert in_processes(1, loop, whole, None, output=tmp_path) == [0], list(tmp_path.glob("*log*"))
    assert in_processes(1, loop, killed, ("rows", 12), output=tmp_path) == [-signal.SIGKILL]
    assert len((killed / "out/round-2/.scored.jsonl.part").read_text().splitlines()) in range(1, 6)
    assert in_processes(1, loop, killed, ("step", 5), output=tmp_path) == [-signal.SIGKILL]
    assert list(killed.glob("out/round-2/checkpoints/*.ckpt"))
    assert not (killed / "out/round-2/model").exists()
    assert in_processes(1, loop, killed, None, output=tmp_path) == [0]
    assert files(killed) == files(whole)
    assert len(files(whole)) == 3 * 4 - 1 + 2 + 2  # prompts, samples, scores; pairs; divergences of two; models of two
    monkeypatch.chdir(whole)
    rounds = plan(read_config(Path("loop.yaml"), None))
    lines = table(outcomes(rounds))
    assert [line.split()[0] for line in lines] == ["round", "1", "2", "last"]
    assert "val accuracy" in lines[0]
    assert lines[1].endswith(" 0")
    _all_is_done(rounds)


def _all_is_done(rounds) -> None:
    """Another call runs nothing, and one with another config is refused before anything is run."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run_rounds(rounds, lambda words: pytest.fail(" ".join(words)))
    assert said.getvalue().splitlines() == [f"{name}: done, in out/{at}" for name, at in _NAMES]
    file = Path("loop.yaml")
    file.write_text(file.read_text().replace("lr: 0.01", "lr: 0.02"))
    with pytest.raises(InputError, match=r"round 1, fit: .*config.model.optimizer.init_args.lr 0.01 then, 0.02 now"):
        run_rounds(plan(read_config(file, None)), lambda words: pytest.fail(" ".join(words)))


_NAMES = (("round 1", "round-1"), ("round 2", "round-2"), ("last", "last"))


def test_a_step_that_fails_is_told_with_its_code_and_tried_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rounds = plan(read_config(written(tmp_path), None))
    for code, said in ((3, "its command ended with exit code 3"), (-9, "its process was killed (signal 9)")):
        with pytest.raises(InputError) as failed:
            run_rounds(rounds, lambda words, code=code: code)
        assert str(failed.value).startswith(f"rounds: round 1, generate: {said}: what is done stays")
    with pytest.raises(InputError, match=r"samples.jsonl is not there"):
        run_rounds(rounds, lambda words: 0)
    assert "dpo-lightning generate model --config out/round-1/fit.yaml" in capsys.readouterr().out
    assert len(Path("out/round-1/prompts.jsonl").read_text().splitlines()) == 6


def test_a_step_that_is_done_before_one_that_is_not_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rounds = plan(read_config(written(tmp_path), None))
    pairs = rounds[0].steps[2]
    running.write_inputs(rounds[0])
    pairs.makes.write_text("{}\n")
    running.note(pairs)
    with pytest.raises(InputError, match="round 1, pair: it was done, and round 1, generate, before it, is not"):
        run_rounds(rounds, lambda words: 0)


def test_a_command_runs_in_a_process_of_its_own(capfd):
    assert call_in_process(["--version"]) == 0
    assert capfd.readouterr().out.startswith("dpo_lightning ")
    assert call_in_process(["mountain"]) == 2
    assert "unknown command `mountain`" in capfd.readouterr().err
