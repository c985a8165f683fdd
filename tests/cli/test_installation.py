"""Checks of installation and machine."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torch

from dpo_lightning.cli import installation
from dpo_lightning.cli.installation import checks


def test_versions_and_device_are_those_of_torch() -> None:
    found = {each.name: each for each in checks()}
    assert found["torch"].text == version("torch")
    assert found["gpu"].works == (torch.cuda.is_available() or torch.backends.mps.is_available())
    assert str(torch.get_num_threads()) in found["cores"].text
    assert not {"pytest", "ruff", "dev", "test"} & {*found}


def test_what_is_missing_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_wandb(name: str) -> str:
        if name == "wandb":
            raise installation.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(installation, "version", without_wandb)
    found = {each.name: each for each in checks()}
    assert (found["wandb"].works, found["wandb"].remedy) == (False, "pip install 'dpo_lightning[wandb]'")
    assert found["plot"].works


def test_a_version_out_of_range_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "version", lambda name: "0.0.1")
    found = {each.name: each for each in checks()}
    assert not found["peft"].works
    assert found["peft"].text == "0.0.1, not >=0.19"


def test_a_precision_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(device: str, dtype: torch.dtype) -> None:
        raise RuntimeError(f"no kernel for {dtype}")

    monkeypatch.setattr(installation, "_multiply", fails)
    found = {each.name: each for each in checks()}
    assert (found["bf16"].works, found["bf16"].text) == (False, "no kernel for torch.bfloat16")
