"""Runs as they are started and end; whole ones are in `tests/cli/commands/test_sweep.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dpo_lightning.cli.sweeps import running
from dpo_lightning.cli.sweeps.axes import Axis
from dpo_lightning.cli.sweeps.checked import Checked
from dpo_lightning.cli.sweeps.kept import Kept
from dpo_lightning.cli.sweeps.plan import Planned
from dpo_lightning.cli.sweeps.processes import StopError
from dpo_lightning.cli.sweeps.running import Runner, command_of, last_line
from tests.helpers.recorded import write_run

SECRET = "hf_" + "a" * 34


def test_the_last_line_is_one_line_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    assert last_line(file) == ""
    file.write_bytes(b"first\nbar 1\rbar 2\rerror: \x1b[31mno \xff" + SECRET.encode() + b"\n\n  \n")
    said = last_line(file)
    assert said.startswith("error: ")
    assert SECRET not in said
    assert "\x1b" not in said
    file.write_text("x" * 100_000 + "\nend\n")
    assert last_line(file) == "end"


def swept(directory: Path, *, goes_on: bool = True) -> tuple[Kept, Planned]:
    """A sweep of one run."""
    words = ("--config=run.yaml", f"--data.load_options.token={SECRET}")
    run = Planned("b=1", {"b": "1"}, Checked(words, {}, {"trainer": {"logger": []}}, goes_on=goes_on))
    kept = Kept(directory)
    kept.take([run], [Axis("b", ("1",))], {})
    return kept, run


def test_what_is_kept_and_said_of_a_run(tmp_path: Path, monkeypatch, capsys) -> None:
    kept, run = swept(tmp_path)
    seen: list[list[str]] = []

    def run_all(jobs, shares, *, began, ended, looked) -> None:
        (job,) = jobs
        seen.append([*job.words])
        began(job)
        write_run(job.directory)
        ended(job, len(seen) % 2)

    monkeypatch.setattr(running, "run_all", run_all)
    Runner(kept, [run], "val/loss").run([{}])
    assert Kept(tmp_path).runs["b=1"] | {"command": []} == {
        **{"name": "b=1", "values": {"b": "1"}, "made": run.made, "goes_on": True, "shares": False},
        **{"status": "failed", "command": [], "exit_code": 1, "said": "exit code 1"},
    }
    Runner(kept, [run], "val/loss").run([{}])
    known = Kept(tmp_path).runs["b=1"]
    assert (known["status"], "said" in known, "exit_code" in known) == ("finished", False, False)
    assert known["metrics"]["val/loss"] == pytest.approx(0.5, abs=0.5)
    assert seen == [command_of(run, tmp_path), [*command_of(run, tmp_path), "--ckpt_path=last"]]
    assert yaml.safe_load((tmp_path / "outputs" / "b=1.yaml").read_text()) == {"trainer": {"logger": []}}
    said = capsys.readouterr().out
    assert SECRET not in said + (tmp_path / "sweep.json").read_text()
    first, failed, again, goes_on, finished = said.splitlines()
    assert first.startswith("b=1: dpo-lightning fit --config=run.yaml ")
    assert failed == "b=1: failed after 0:00: exit code 1"
    assert again.endswith(" --ckpt_path=last")
    assert goes_on == "b=1: goes on from its last checkpoint"
    assert finished.startswith("b=1: finished after 0:00, val/loss ")


def test_a_run_that_is_stopped_is_noted(tmp_path: Path, monkeypatch) -> None:
    kept, run = swept(tmp_path)

    def run_all(jobs, shares, *, began, ended, looked) -> None:
        began(jobs[0])
        raise StopError(2)

    monkeypatch.setattr(running, "run_all", run_all)
    with pytest.raises(StopError):
        Runner(kept, [run], "val/loss").run([{}])
    assert Kept(tmp_path).runs["b=1"]["status"] == "stopped"
