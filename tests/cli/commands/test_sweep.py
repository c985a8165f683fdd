"""`dpo-lightning sweep`, with runs of a few steps: equal to plain fits, killed, failed, and gone on with."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dpo_lightning.cli.door import main
from dpo_lightning.report.record import RunRecord, read_rows
from tests.helpers.ranks import run_command, start_command, succeed
from tests.helpers.sweeps import BETA, forked, metrics, project

QUICK = [f"--over={BETA}=0.1,0.5", "--config=run.yaml", "--out=out"]
NAMES = ["beta=0.1", "beta=0.5"]


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("dpo_lightning.cli.sweeps.processes.start", forked)


def ends_with(code: object, words: list[str]) -> None:
    """Run a sweep that ends with an exit code, or in an error."""
    with pytest.raises(SystemExit) as ended:
        main(["sweep", *words])
    assert ended.value.code == code


def test_runs_equal_plain_fits_and_score_their_reference_once(tmp_path: Path, capsys) -> None:
    project(tmp_path)
    main(["sweep", *QUICK, "--share_reference", "--best=val/loss"])
    first, second = ((tmp_path / "out" / "outputs" / f"{name}.txt").read_text() for name in NAMES)
    assert "0 of 24 different rows are there, 24 are scored now" in first
    assert "24 of 24 different rows are there\n" in second
    assert not (tmp_path / "runs").exists()  # where the config would write
    printed = capsys.readouterr().out
    plain = f"fit --config=run.yaml --{BETA}=0.5 --model.reference=Precomputed"
    assert f"beta=0.5: dpo-lightning {plain} --config=out/outputs/beta=0.5.yaml\n" in printed

    succeed(run_command(plain.split(), tmp_path), tmp_path)
    there = metrics(tmp_path / "out" / "beta=0.5")
    assert there == metrics(tmp_path / "runs" / "lightning_logs" / "version_0")
    assert there[-1]["step"] == 4
    assert {path.name for path in (tmp_path / "out" / "beta=0.5").iterdir()} >= {
        "config.yaml",
        "metrics.csv",
        "record",
        "report.html",
        "saved",
    }
    losses = {name: metrics(tmp_path / "out" / name)[-1]["val/loss"] for name in NAMES}
    with (tmp_path / "out" / "sweep.csv").open() as file:
        assert {row["run"]: float(row["val/loss"]) for row in csv.DictReader(file)} == losses
    best = json.loads((tmp_path / "out" / "sweep.json").read_text())["best"]
    assert [group["names"] for group in best["groups"]] == [[name] for name in sorted(losses, key=losses.get)]
    assert "2 runs" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "sweep.png").read_bytes().startswith(b"\x89PNG")

    written = (tmp_path / "out" / "sweep.json").stat().st_mtime
    ends_with(
        "error: sweep --out out: its runs were made with other settings (trainer.max_steps 4, not 8; "
        "data.batch_pairs 4, not 2): give another --out",
        [*QUICK, "--share_reference", "--data.batch_pairs=2", "--trainer.max_steps=8"],
    )
    assert (tmp_path / "out" / "sweep.json").stat().st_mtime == written


def test_a_killed_sweep_kills_its_runs_and_goes_on_to_the_very_metrics(tmp_path: Path, monkeypatch, capsys) -> None:
    project(tmp_path, max_steps=14)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    sweep = start_command(["sweep", f"--over={BETA}=0.5", *QUICK[1:]], tmp_path)
    record = RunRecord(tmp_path / "out" / "beta=0.5")
    until(lambda: sum("train/loss" in row for row in read_rows(record.points)) > 3)
    sweep.kill()
    sweep.join()
    until(lambda: not running("beta=0.5"))
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["runs"][0]["status"] == "running"

    main(["sweep", f"--over={BETA}=0.5", *QUICK[1:]])
    printed = capsys.readouterr().out
    assert "beta=0.5: goes on from its last checkpoint\n" in printed
    assert "--ckpt_path=last" in printed
    assert json.loads(record.facts.read_text())["resumed"]
    succeed(run_command(["fit", "--config=run.yaml", f"--{BETA}=0.5"], tmp_path), tmp_path)
    assert metrics(tmp_path / "out" / "beta=0.5") == metrics(tmp_path / "runs" / "lightning_logs" / "version_0")

    main(["sweep", f"--over={BETA}=0.5", *QUICK[1:]])
    assert capsys.readouterr().out.startswith("1 of 1 runs are finished already\n")


def test_a_run_that_fails_ends_no_other_and_begins_anew(tmp_path: Path, capsys) -> None:
    project(tmp_path, checkpoints=False, max_steps=1)
    words = ["--config=run.yaml", "--out=out", "--over=data.dataset=none.jsonl,pairs.jsonl", "--jobs=2"]
    ends_with(1, words)
    printed = capsys.readouterr().out
    (said,) = (line for line in printed.splitlines() if line.startswith("failed: dataset=none.jsonl: error: "))
    assert said.endswith("(out/outputs/dataset=none.jsonl.txt)")
    known = {run["name"]: run for run in json.loads((tmp_path / "out" / "sweep.json").read_text())["runs"]}
    assert known["dataset=none.jsonl"]["exit_code"] == 1
    assert known["dataset=pairs.jsonl"]["status"] == "finished"
    assert "out/report.html" in printed

    (tmp_path / "out" / "dataset=none.jsonl").mkdir(exist_ok=True)  # what an attempt might leave
    (tmp_path / "out" / "dataset=none.jsonl" / "half").touch()
    (tmp_path / "none.jsonl").write_bytes((tmp_path / "pairs.jsonl").read_bytes())
    main(["sweep", *words])
    printed = capsys.readouterr().out
    assert "1 of 2 runs are finished already\n" in printed
    assert "dataset=none.jsonl: begins anew, since nothing saves" in printed
    assert (tmp_path / "out" / "earlier" / "dataset=none.jsonl-1" / "half").exists()
    assert metrics(tmp_path / "out" / "dataset=none.jsonl") == metrics(tmp_path / "out" / "dataset=pairs.jsonl")


def test_a_signal_stops_all_runs_and_leaves_them_to_go_on(tmp_path: Path, capsys) -> None:
    project(tmp_path, max_steps=-1, max_epochs=400)
    record = RunRecord(tmp_path / "out" / "beta=0.1")

    def interrupt() -> None:
        until(lambda: sum("train/loss" in row for row in read_rows(record.points)) > 1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ends_with(128 + signal.SIGINT, QUICK)
    thread.join()
    statuses = [run["status"] for run in json.loads((tmp_path / "out" / "sweep.json").read_text())["runs"]]
    assert statuses == ["stopped", "waiting"]
    steps = [int(path.stem.partition("=")[2]) for path in (tmp_path / "out" / "beta=0.1" / "saved").glob("*.ckpt")]
    assert max(steps) >= 2
    assert json.loads(record.facts.read_text())["status"] == "stopped"
    assert capsys.readouterr().out.endswith("stopped: the same command goes on in out\n")


def until(happened, seconds: float = 100) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.02)


def running(name: str) -> bool:
    """Whether a process runs a run of this name, here or started from here."""
    here = str(Path.cwd())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode()
            if f"outputs/{name}.yaml" in words and os.readlink(process / "cwd") == here:
                return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            continue
    return False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "error: sweep: over what? Give --over KEY=VALUE,VALUE or a file with --grid"),
        (["--over=trainer.max_steps=1,2", "--trainer.logger=false"], "error: sweep: trainer.logger is false: a sweep"),
        ([f"--over={BETA}=1,-1"], "error: model.objective: DPO.beta must be a finite number greater than 0, got -1.0"),
        (["--over=trainer.max_steps=1,2", "--ckpt_path=last"], "error: sweep: ckpt_path: runs begin from model.policy"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(words: list[str], said: str, tmp_path: Path) -> None:
    project(tmp_path)
    before = {*tmp_path.iterdir()}
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--config=run.yaml", *words])
    assert str(ended.value.code).startswith(said)
    assert "\n" not in str(ended.value.code)
    assert {*tmp_path.iterdir()} == before


def test_a_wrong_key_is_found_before_any_run(tmp_path: Path, capsys) -> None:
    project(tmp_path)
    ends_with(2, ["--config=run.yaml", "--over=model.objective.betta=0.1,0.2"])
    assert capsys.readouterr().err == "error: unknown key `model.objective.betta`; did you mean `beta`?\n"
    assert not (tmp_path / "sweep").exists()


def test_a_dry_run_prints_the_commands_alone(tmp_path: Path, capsys) -> None:
    project(tmp_path)
    main(["sweep", *QUICK, "--dry_run"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{name}: dpo-lightning fit --config=run.yaml --{BETA}={name[5:]} --config=out/outputs/{name}.yaml"
        for name in NAMES
    ]
    assert not (tmp_path / "out").exists()
