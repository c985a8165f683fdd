"""Every line of a shipped config is explained, and each merges with each kind of hardware."""

from __future__ import annotations

import functools
import sys

import lightning.pytorch as pl
import pytest
import yaml
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

from dpo_lightning.cli.main import main
from tests.helpers.recipes import CONFIGS, RECIPES

ROUNDS = "iterative"  # of another command, whose fit is a section of it
OWN = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != ROUNDS)
NAMES = [*OWN, *(f"recipes/{name}" for name in RECIPES)]
HARDWARE = {  # processes, and how many of them read different pairs
    "one_gpu": (SingleDeviceStrategy, 1, 1),
    "ddp": (DDPStrategy, 8, 8),
    "fsdp2": (ModelParallelStrategy, 8, 8),
    "fsdp2_tp": (ModelParallelStrategy, 16, 2),
}

MERGED = ("quickstart", "recipes/dpo_paper_hh", "recipes/full_8b_fsdp2")
"""Merged with each kind of hardware: without anything, with a usual run, and with one that has a strategy; the other
recipes are merged with the hardware of their header alone."""


def test_the_configs_of_the_readme_are_there():
    assert {"quickstart", "recipes/dpo_paper_hh", "recipes/lora_1b_24gb"} <= set(NAMES)


@pytest.mark.parametrize("name", [*NAMES, ROUNDS, *(f"hardware/{name}" for name in HARDWARE)])
def test_every_line_is_documented(name):
    lines = (CONFIGS / f"{name}.yaml").read_text().splitlines()
    silent = [line for line in lines if "#" not in line and not line.rstrip().endswith(":")]
    assert lines[0].startswith("# ")
    assert silent == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("hardware", HARDWARE)
def test_hardware_merges_with_runs(hardware, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    fits = []
    fit = functools.wraps(pl.Trainer.fit)(lambda trainer, model, **_: fits.append((trainer, model)))
    monkeypatch.setattr(pl.Trainer, "fit", fit)
    strategy, processes, data_ranks = HARDWARE[hardware]
    assert {path.stem for path in (CONFIGS / "hardware").glob("*.yaml")} == set(HARDWARE)
    own = {1: "one_gpu", 8: "fsdp2"}  # of the header
    for name in {*MERGED, *(f"recipes/{name}" for name in RECIPES)}:
        given = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["trainer"]["devices"]
        if name not in MERGED and own[given] != hardware:
            continue
        configs = [CONFIGS / f"{name}.yaml", CONFIGS / f"hardware/{hardware}.yaml"]
        main(["fit", *(f"--config={path}" for path in configs), "--trainer.accelerator=cpu"])
        trainer, module = fits.pop()
        alone = yaml.safe_load(configs[0].read_text())
        assert type(trainer.strategy) is strategy
        assert trainer.world_size == processes
        assert getattr(trainer.strategy, "_data_parallel_size", processes) == data_ranks
        assert type(module.objective).__name__ == alone["model"]["objective"]["class_path"]
        assert trainer.max_epochs == alone["trainer"]["max_epochs"]
        kinds = {type(callback).__name__ for callback in trainer.callbacks}
        assert {callback["class_path"].rsplit(".", 1)[-1] for callback in alone["trainer"]["callbacks"]} <= kinds
