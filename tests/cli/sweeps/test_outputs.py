"""Outputs of a run of a sweep: all in its own directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_lightning.cli.sweeps.outputs import own_outputs
from dpo_lightning.errors import InputError

OWN = Path("sweep/beta=0.1")
CONFIGS = [
    path for path in sorted((Path(__file__).parents[3] / "configs").glob("*.yaml")) if "\ntrainer:" in path.read_text()
]


def made(kind: str, **arguments: Any) -> dict[str, Any]:
    """An object of Lightning, as a saved config has it."""
    room = "loggers" if kind.endswith("Logger") else "callbacks"
    return {"class_path": f"lightning.pytorch.{room}.{kind}", "init_args": arguments}


def places(found: Any) -> list[str]:
    """All texts with a directory in them."""
    if isinstance(found, dict):
        return [each for value in found.values() for each in places(value)]
    if isinstance(found, list):
        return [each for value in found for each in places(value)]
    return [found] if isinstance(found, str) and "/" in found else []


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_place_of_a_shipped_config_moves(config: Path) -> None:
    trainer = yaml.safe_load(config.read_text())["trainer"]
    found = own_outputs(trainer, OWN)
    assert places(found)
    assert all(Path(place).is_relative_to(OWN) and ".." not in place for place in places(found))
    assert len(places(found)) >= len(places({name: trainer[name] for name in ("logger", "callbacks")}))


def test_what_lies_below_one_directory_lies_so_in_the_runs() -> None:
    trainer = {
        "logger": [
            made("CSVLogger", save_dir="runs/x", name="logs", version=3),
            made("TensorBoardLogger", save_dir="runs/x/tb"),
        ],
        "callbacks": [
            made("ModelCheckpoint", dirpath="runs/x/saved/best", monitor="val/loss"),
            {"class_path": "mine.Writes", "init_args": {"path": str(Path("runs/x/mine.txt").absolute())}},
            made("EarlyStopping", monitor="val/loss"),
        ],
        "profiler": {
            "class_path": "lightning.pytorch.profilers.X",
            "init_args": {"dirpath": "runs/x/profile"},
        },
    }
    found = own_outputs(trainer, OWN)
    own = str(OWN)
    assert found["default_root_dir"] == own
    assert [each["init_args"] for each in found["logger"]] == [
        {"save_dir": own, "name": "", "version": ""},
        {"save_dir": f"{own}/tb"},
    ]
    assert [each["init_args"] for each in found["callbacks"]] == [
        {"dirpath": f"{own}/saved/best", "monitor": "val/loss"},
        {"path": f"{own}/mine.txt"},
        {"monitor": "val/loss"},
    ]
    assert found["profiler"]["init_args"] == {"dirpath": f"{own}/profile"}


@pytest.mark.parametrize("logger", [None, True])
def test_without_a_logger_there_is_one_of_metrics(logger: Any) -> None:
    found = own_outputs({"logger": logger, "callbacks": None, "profiler": "simple"}, OWN)
    assert found == {
        "default_root_dir": str(OWN),
        "logger": [made("CSVLogger", save_dir=str(OWN), name="", version="")],
    }


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"logger": False}, "trainer.logger is false"),
        ({"logger": []}, "trainer.logger is false"),
        ({"barebones": True}, "trainer.logger is false"),
        ({"fast_dev_run": 3}, "trainer.fast_dev_run leaves no metrics"),
        ({"default_root_dir": "s3://bucket/x"}, "trainer.default_root_dir: all runs would write to s3://bucket/x"),
        (
            {"callbacks": [made("ModelCheckpoint", dirpath="s3://b/x")]},
            "trainer.callbacks: ModelCheckpoint.dirpath",
        ),
        ({"logger": made("WandbLogger", id="one")}, "trainer.logger: WandbLogger.id names one run"),
        (
            {"callbacks": [{"class_path": "mine.Writes", "init_args": {"target": "out/x.txt"}}]},
            "trainer.callbacks: Writes.target: all runs might write to out/x.txt",
        ),
        (
            {"callbacks": [{"class_path": "dpo_lightning.callbacks.Export", "init_args": {"push_to": "me/model"}}]},
            "trainer.callbacks: Export.push_to: all runs would push to me/model",
        ),
        (
            {"callbacks": [made("ModelCheckpoint", dirpath="saved", filename="/saved/best")]},
            "trainer.callbacks: ModelCheckpoint.filename: all runs would write to /saved/best",
        ),
    ],
)
def test_a_place_that_runs_would_share_is_refused(trainer: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match="sweep: ") as refused:
        own_outputs(trainer, OWN)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
