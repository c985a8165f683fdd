"""Whoever starts the processes, a run is that of one process; and when one of them dies, all end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from lightning_utilities.core.rank_zero import rank_zero_only as utilities_rank_zero_only
from safetensors.torch import load_file

from dpo_lightning import PreferenceModule
from dpo_lightning.checkpoints import newest_good
from dpo_lightning.cli.main import main
from tests.helpers.ranks import REPOSITORY
from tests.helpers.runs import data, saved_model, trainer, write_rows

ENDLESS = ["--trainer.max_steps=1000000", "--trainer.max_epochs=-1"]


def command(path: Path, hardware: str, *words: str) -> list[str]:
    """Arguments of a run in the directory, on two processes of a shipped hardware config where one is named."""
    saving = {"dirpath": str(path / "checkpoints"), "every_n_train_steps": 3}
    config: dict[str, Any] = {
        "model": {
            "policy": str(path / "model"),
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01, "eps": 0.01}},
        },
        "data": {"dataset": str(path / "pairs.jsonl"), "batch_pairs": 2 if hardware else 4},
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 4,
            "limit_val_batches": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "default_root_dir": str(path),
            "callbacks": [
                {"class_path": "ResumableCheckpoint", "init_args": saving},
                {"class_path": "Export", "init_args": {"path": str(path / "export")}},
            ],
        },
    }
    saved_model(path / "model")
    write_rows(path / "pairs.jsonl")
    (path / "run.yaml").write_text(yaml.safe_dump(config))
    two = [f"--config={REPOSITORY}/configs/hardware/{hardware}.yaml", "--trainer.accelerator=cpu"]
    sizes = ["--trainer.devices=2", *(["--trainer.strategy.data_parallel_size=2"] if hardware == "fsdp2" else [])]
    return ["fit", f"--config={path / 'run.yaml'}", *(two + sizes if hardware else []), *words]


def rounding_proof(parameters: Any) -> torch.optim.Optimizer:
    """A function that a spawned process can import."""
    return torch.optim.AdamW(parameters, lr=1e-2, eps=1e-2)


def exported(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "export/model.safetensors")


def test_torchrun_and_a_hardware_config_make_the_run_of_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.mkdir()
    main(command(paths[0], ""))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    done = subprocess.run(
        [*launch, "dpo_lightning", *command(paths[1], "fsdp2")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = map(exported, paths)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6)
    assert newest_good(paths[1] / "checkpoints").path.is_dir()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_spawned_processes_bring_the_weights_back(tmp_path):
    policy = saved_model(tmp_path / "model")
    weights = []
    for settings in ({}, {"strategy": "ddp_spawn", "devices": 2}):
        pairs = data(tmp_path, batch_pairs=4 // settings.get("devices", 1), tokenizer=None)
        model = PreferenceModule(policy, optimizer=rounding_proof)
        trainer(**settings).fit(model, pairs)
        weights.append(model.state_dict())
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("hardware", "dying"), [("ddp", 1), ("fsdp2", 0)])
def test_when_a_rank_is_killed_all_end_and_the_run_can_go_on(hardware, dying, tmp_path):
    with started(command(tmp_path, hardware, *ENDLESS), tmp_path) as run:
        wait_for(lambda: list((tmp_path / "checkpoints").glob("step=*")), run)
        second = next(pid for pid in processes_of(run) if pid != run.pid)
        if dying == 0:  # the other one waits, and does not see that its connection is lost
            os.kill(second, signal.SIGSTOP)
        os.kill(run.pid if dying == 0 else second, signal.SIGKILL)
        assert run.wait(timeout=90) != 0
        wait_for(lambda: not processes_of(run), run, seconds=60)
    assert newest_good(tmp_path / "checkpoints") is not None


OF_A_RANK = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "RANK")


@contextmanager
def started(words: list[str], path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a session of its own; whatever is left of it at the end is killed.

    It is no rank of what ran here before, and waits for no other run's lock on the cache of rows.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_RANK}
    with (path / "log.txt").open("w") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "dpo_lightning", *words],
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
            env={**environment, "HF_DATASETS_CACHE": str(path / "cache")},
        )
        try:
            yield run
        finally:
            for pid in processes_of(run):
                os.kill(pid, signal.SIGKILL)
            run.wait()


def processes_of(run: subprocess.Popen[str]) -> list[int]:
    """Living processes of its session."""
    listed = subprocess.run(
        ["ps", "-s", str(run.pid), "-o", "pid=,stat="], capture_output=True, text=True, check=False
    ).stdout
    return [int(pid) for pid, state in map(str.split, listed.splitlines()) if not state.startswith("Z")]


def wait_for(condition: Any, run: subprocess.Popen[str], seconds: float = 200) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited in vain; processes left: {processes_of(run)}"
        time.sleep(0.1)


def test_slurm_needs_nothing(tmp_path, monkeypatch):
    slurm = {
        "SLURM_NTASKS": "2",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ID": "1",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost",
        "SLURM_NTASKS_PER_NODE": "2",
    }
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    for place in (rank_zero_only, utilities_rank_zero_only):  # set below; later tests are to be told things again
        monkeypatch.setattr(place, "rank", 0)
    run = trainer(strategy="ddp", devices=2)
    assert (run.global_rank, run.world_size) == (1, 2)
    pairs = data(tmp_path, batch_pairs=2)
    pairs.trainer = run
    pairs.setup()
    everyone = [[], []]
    for rank, seen in enumerate(everyone):
        run.strategy.cluster_environment.set_global_rank(rank)
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        run.strategy.set_world_ranks()
        loader = pairs.train_dataloader()
        assert (loader.sampler.rank, loader.sampler.plan.world_size) == (rank, 2)
        seen += [index for batch in loader.sampler for index in batch]
    assert sorted(everyone[0] + everyone[1]) == list(range(24))
