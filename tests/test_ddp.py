"""Two processes see the same batches, make the same steps and report the same means as one."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.helpers.runs import saved_model, write_rows


def run(path: Path, processes: int, lora: bool) -> tuple[list[dict[str, str]], dict[str, torch.Tensor]]:
    """A run of the command; what it logged, and the parameters that it trained."""
    out = path / f"{processes}"
    config = {
        "model": {
            "policy": str(path / "model"),
            "lora": {"r": 4} if lora else None,
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        },
        "data": {
            "dataset": str(path / "pairs.jsonl"),
            # 7 validation pairs on 2 processes: 4 and 3
            "val_split": "train[:7]",
            "batch_size": 4 // processes,
            "eval_batch_size": 2,
        },
        "trainer": {
            "accelerator": "cpu",
            "devices": processes,
            "strategy": "ddp" if processes > 1 else "auto",
            "max_epochs": 2,
            "log_every_n_steps": 3,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": str(out)}},
            "callbacks": [
                {"class_path": "ModelCheckpoint", "init_args": {"dirpath": str(out / "ckpt"), "save_last": True}},
                {"class_path": "Export", "init_args": {"path": str(out / "export")}},
            ],
        },
    }
    (path / f"{processes}.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "dpo_lightning", "fit", "--config", str(path / f"{processes}.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=path)
    assert done.returncode == 0, done.stderr[-3000:]
    with next(out.glob("**/metrics.csv")).open() as file:
        logged = list(csv.DictReader(file))
    return logged, torch.load(out / "ckpt/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_two_processes_equal_one(tmp_path, lora):
    saved_model(tmp_path / "model")
    write_rows(tmp_path / "pairs.jsonl", 24)
    (one_logged, one_weights), (two_logged, two_weights) = (run(tmp_path, processes, lora) for processes in (1, 2))
    assert one_weights.keys() == two_weights.keys()
    for name, value in one_weights.items():
        torch.testing.assert_close(two_weights[name], value, rtol=1e-4, atol=1e-5)
    assert len(one_logged) == len(two_logged) == 4 + 2  # four means of three steps, two validations
    for one, two in zip(one_logged, two_logged, strict=True):
        assert {k: float(v) for k, v in two.items() if v} == pytest.approx(
            {k: float(v) for k, v in one.items() if v}, rel=1e-3, abs=1e-4
        )
    assert (tmp_path / "2/export").is_dir()
