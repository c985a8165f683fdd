"""A loader's process that dies ends the run with one line that says why."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from dpo_lightning.cli import main as cli
from tests.helpers.runs import saved_model, write_rows

KILLER = """
import multiprocessing, os, signal
from lightning.pytorch import Callback

class Killer(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
"""


def test_a_worker_that_is_killed_ends_the_run_with_one_line(tmp_path):
    (tmp_path / "killer.py").write_text(KILLER)
    config = {
        "model": {"policy": saved_model(tmp_path / "model")},
        "data": {"dataset": write_rows(tmp_path / "pairs.jsonl", 400), "batch_pairs": 2, "num_workers": 2},
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [{"class_path": "killer.Killer"}],
        },
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "dpo_lightning", "fit", "--config", "run.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: DataLoader worker (pid")
    assert "ran out of memory, or of shared memory" in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("said", "start"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Killed. ",
            "DataLoader worker (pid 7) is killed by signal: Killed: most",
        ),
        (
            "DataLoader worker (pid(s) 7, 8) exited unexpectedly",
            "DataLoader worker (pid(s) 7, 8) exited unexpectedly: most",
        ),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers",
            "DataLoader worker (pid 7) is killed by signal: Bus error: most",
        ),
    ],
)
def test_each_of_torchs_messages_becomes_one_line(monkeypatch, said, start):
    def run(args: list[str]) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(cli, "run_trainer", run)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["fit"])
    assert str(stopped.value.code).startswith(f"error: {start} likely")


def test_another_error_of_a_run_keeps_its_traceback(monkeypatch):
    def run(args: list[str]) -> None:
        raise RuntimeError("a DataLoader worker said no")

    monkeypatch.setattr(cli, "run_trainer", run)
    with pytest.raises(RuntimeError, match="said no"):
        cli.main(["fit"])
