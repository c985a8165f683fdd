"""Sweeps whose runs are forked from a process that has imported everything, and not started anew."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dpo_lightning.cli.sweeps.processes import Job
from dpo_lightning.report.record import RunRecord, read_rows
from tests.helpers.ranks import as_command, cache
from tests.helpers.resumable import launch
from tests.helpers.runs import MEASURED, saved_model, write_rows

BETA = "model.objective.init_args.beta"


def project(directory: Path, *, checkpoints: bool = True, **trainer: Any) -> Path:
    """Write a model, pairs and `run.yaml`, a run of a few steps that writes below `runs`."""
    saved_model(directory / "model")
    write_rows(directory / "pairs.jsonl", 24)
    saving = {"class_path": "ResumableCheckpoint", "init_args": {"dirpath": "runs/saved", "every_n_train_steps": 1}}
    config = {
        "torch_threads": 1,
        "model": {
            "policy": "model",
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        },
        "data": {"dataset": "pairs.jsonl", "val_split": "train[:4]", "batch_pairs": 4},
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 4,
            "val_check_interval": 2,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "runs"}},
            "callbacks": [saving] if checkpoints else [],
            **({} if checkpoints else {"enable_checkpointing": False}),
            **trainer,
        },
    }
    (directory / "run.yaml").write_text(yaml.safe_dump(config))
    return directory


class Forked:
    """A forked process in the place of a `Popen`."""

    def __init__(self, process: Any) -> None:
        self.process = process

    def poll(self) -> int | None:
        """Its exit code."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)


def forked(job: Job, environment: Mapping[str, str]) -> Forked:
    """Start a run in a forked process, in the place of `processes.start`."""
    logs = job.output.parent / f".{job.name}"
    logs.mkdir(exist_ok=True)
    call = (_as_run, (0, [*job.words], Path.cwd(), job.output, {**cache(), **environment}), {})
    return Forked(launch(1, logs, lambda rank: call)[0])


def _as_run(_: int, words: list[str], here: Path, output: Path, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    as_command(0, words, here, environment)


def metrics(directory: Path) -> list[dict[str, Any]]:
    """The points that a run has logged, without those of its clock."""
    rows = read_rows(RunRecord(directory).points)
    return [{name: value for name, value in row.items() if name not in {*MEASURED, "seconds"}} for row in rows]
