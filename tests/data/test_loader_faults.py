"""A loader's process that dies ends the run with one line that says why."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch.multiprocessing.reductions import rebuild_storage_fd

from dpo_lightning.cli import main as cli
from tests.helpers.ranks import run_command
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
    assert run_command(["fit", "--config", "run.yaml"], tmp_path) == [1]
    printed = (tmp_path / "output-0.txt").read_text()
    last = printed.strip().splitlines()[-1]
    assert last.startswith(("error: DataLoader worker (pid", "error: a DataLoader worker is gone ("))
    assert "ran out of memory, or of shared memory" in last
    assert "Traceback" not in printed


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


class Gone:
    """The connection to a process that died while it sent a tensor."""

    def detach(self) -> int:
        raise ConnectionResetError(104, "Connection reset by peer")


def test_a_connection_that_breaks_while_a_tensor_comes_is_a_lost_worker(monkeypatch):
    monkeypatch.setattr(cli, "run_trainer", lambda args: rebuild_storage_fd(torch.UntypedStorage, Gone(), 8))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["fit"])
    assert str(stopped.value.code).startswith("error: a DataLoader worker is gone (ConnectionResetError): most likely")


def test_a_connection_that_breaks_elsewhere_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(cli, "run_trainer", lambda args: Gone().detach())
    with pytest.raises(ConnectionResetError):
        cli.main(["fit"])
