"""How axolotl's configs run, here."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl, config, told


def trainer(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = config(axolotl(**changes))["trainer"]
    return found


@pytest.mark.parametrize(
    ("changes", "warmup"), [({"warmup_steps": 12, "warmup_ratio": 0.5}, 12), ({"warmup_ratio": 0.1}, 0.1), ({}, 0.03)]
)
def test_the_warm_up(changes: dict[str, Any], warmup: float) -> None:
    found = config(axolotl(**changes))["model"]["schedule"]
    assert found == {"class_path": "TransformersSchedule", "init_args": {"name": "cosine", "warmup": warmup}}


def test_a_floor_of_the_cosine() -> None:
    found = config(axolotl(cosine_min_lr_ratio=0.1, warmup_steps=0))["model"]["schedule"]["init_args"]
    assert found == {"name": "cosine_with_min_lr", "warmup": 0, "settings": {"min_lr_rate": 0.1}}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"learning_rate": None}, "learning_rate"),
        ({"optimizer": "muon"}, "optimizer"),
        ({"lr_scheduler": "rex"}, "lr_scheduler"),
        ({"val_set_size": 0.1, "eval_steps": 0.2}, "eval_steps"),
        ({"save_steps": 0.2}, "save_steps"),
        ({"logging_steps": 0.2}, "logging_steps"),
        ({"num_epochs": 1.5}, "num_epochs"),
        ({"plugins": ["axolotl.integrations.kd.KDPlugin"]}, "KDPlugin"),
    ],
)
def test_what_has_no_equal_is_refused(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name):
        axolotl(**changes)


def test_validation_is_told_where_nothing_is_held_out() -> None:
    draft = axolotl(evals_per_epoch=4, eval_strategy="steps")
    assert "val_check_interval" not in config(draft)["trainer"]
    assert {"evals_per_epoch", "eval_strategy"} <= told(draft).keys()


@pytest.mark.parametrize(
    ("changes", "interval"),
    [({"evals_per_epoch": 4}, 0.25), ({"eval_steps": 10, "gradient_accumulation_steps": 4}, 40)],
)
def test_validation(changes: dict[str, Any], interval: float) -> None:
    assert trainer(val_set_size=0.1, **changes)["val_check_interval"] == interval


def test_callbacks() -> None:
    found = trainer(
        output_dir="out", save_steps=50, save_total_limit=2, early_stopping_patience=3, generate_samples=True
    )
    made = {each["class_path"]: each.get("init_args") for each in found["callbacks"]}
    assert made["ResumableCheckpoint"] == {"dirpath": "out/checkpoints", "every_n_train_steps": 50, "keep": 2}
    assert made["Export"] == {"path": "out/model"}
    assert made["EarlyStopping"] == {"monitor": "val/loss", "mode": "min", "patience": 3}
    assert made["SampleTable"] == {"path": "out/samples.md", "prompts": 3, "max_new_tokens": 50}
    assert trainer(save_strategy="no")["enable_checkpointing"] is False


def test_loggers() -> None:
    found = trainer(output_dir="out", wandb_project="p", wandb_name="n", use_tensorboard=True, logging_steps=5)
    assert [each["class_path"] for each in found["logger"]] == ["CSVLogger", "WandbLogger", "TensorBoardLogger"]
    assert found["logger"][1]["init_args"] == {"project": "p", "name": "n", "save_dir": "out"}
    assert found["log_every_n_steps"] == 5


def test_plugins_of_speed_are_left_out() -> None:
    said = told(axolotl(plugins=["axolotl.integrations.liger.LigerPlugin"], liger_rope=True))
    assert {"plugins", "liger_rope"} <= said.keys()
