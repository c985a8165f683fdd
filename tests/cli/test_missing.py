"""Packages and devices that are not here: a line with what to do."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning_utilities.core import imports as requirements

from dpo_lightning.cli.main import cause_in_a_line, main
from dpo_lightning.cli.missing import class_in, missing_device, missing_package
from tests.helpers.runs import saved_model, write_rows

CSV = {"class_path": "CSVLogger", "init_args": {"save_dir": "logs"}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = tmp_path_factory.mktemp("missing")
    config = {
        "model": {"policy": saved_model(there / "model")},
        "data": {"dataset": write_rows(there / "pairs.jsonl")},
        "trainer": {"accelerator": "cpu", "max_steps": 1, "enable_progress_bar": False},
    }
    (there / "run.yaml").write_text(yaml.safe_dump(config))
    return there


@pytest.fixture
def bare(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without the packages of loggers."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    gone = {"wandb", "tensorboard", "tensorboardX", "mlflow", "comet_ml", "comet-ml", "matplotlib"}
    for name in [each for each in sys.modules if each.partition(".")[0] in gone]:
        monkeypatch.delitem(sys.modules, name)
    for name in gone:
        monkeypatch.setitem(sys.modules, name, None)

    def found(name: str) -> str:
        if name in gone:
            raise requirements.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(requirements, "_version", found)
    for kind in (requirements.RequirementCache, requirements.ModuleAvailableCache):
        monkeypatch.setattr(kind, "__bool__", lambda self: _answers(self, gone))
    return project


def _answers(cache: Any, gone: set[str]) -> bool:
    name = str(cache.requirement or cache.module)
    is_here = not any(name.startswith(each) for each in gone)
    cache.available, cache.message = is_here, "" if is_here else f"Requirement {name!r} not met. HINT: Try ..."
    return is_here


def refusal(*words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", "run.yaml", *words])
    assert len(str(stopped.value.code).splitlines()) == 1
    return str(stopped.value.code)


@pytest.mark.parametrize(
    ("logger", "line"),
    [
        ("WandbLogger", "trainer.logger: WandbLogger needs wandb: pip install 'dpo_lightning[wandb]'"),
        ("MLFlowLogger", "trainer.logger: MLFlowLogger needs mlflow: pip install 'mlflow>="),
        ("CometLogger", "trainer.logger: CometLogger needs comet-ml: pip install 'comet-ml>="),
        (
            {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "x"}},
            "trainer.logger: TensorBoardLogger needs tensorboard: pip install 'dpo_lightning[tensorboard]'",
        ),
        (
            [CSV, {"class_path": "WandbLogger"}],
            "trainer.logger[1]: WandbLogger needs wandb: pip install 'dpo_lightning[wandb]'",
        ),
        (
            [{"class_path": "TensorBoardLogger", "init_args": {"save_dir": "x"}}, CSV],
            "trainer.logger[0]: TensorBoardLogger needs tensorboard: pip install 'dpo_lightning[tensorboard]'",
        ),
    ],
    ids=["wandb", "mlflow", "comet", "tensorboard", "wandb in a list", "tensorboard in a list"],
)
def test_a_logger_names_the_extra(bare: Path, logger: Any, line: str) -> None:
    given = logger if isinstance(logger, str) else json.dumps(logger)
    assert refusal(f"--trainer.logger={given}").startswith(f"error: {line}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_device_that_is_not_here(project: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(project)
    line = refusal(f"--trainer.accelerator={name}")
    assert line.startswith("error: trainer.accelerator: ")
    assert line.endswith(
        "set trainer.accelerator and trainer.devices to auto; `dpo-lightning doctor` says what is here"
    )


def test_other_errors_are_none() -> None:
    assert missing_package([ValueError("no"), KeyError("x")]) is None
    assert missing_device(ValueError("no")) is None
    assert class_in(ValueError("no")) is None
    assert class_in(ValueError("Problem with given class_path 'a.b.Logger':\n ...")) == "Logger"


def test_a_logger_whose_package_is_broken_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.loggers import WandbLogger

    (tmp_path / "wandb.py").write_text("raise ImportError('libwandb is gone')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    with pytest.raises(ImportError) as broken:
        _ = WandbLogger(offline=True).experiment
    said = "trainer.logger: WandbLogger: its package cannot be imported (libwandb is gone): install it again"
    assert cause_in_a_line(broken.value) == said
    assert cause_in_a_line(ImportError("no module of the user")) is None
