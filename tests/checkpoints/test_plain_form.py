"""The plain form of settings."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import SGD

from dpo_lightning import DPO, AdapterOff, AnyObjective, Divergence, LoRA, Precomputed, Reference, Schedule
from dpo_lightning.checkpoints.plain_form import plain_form, public_path
from dpo_lightning.training.schedules import Linear


class Colour(str, Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass(frozen=True)
class Inner:
    path: Path
    derived: int = field(default=0, init=False)


class Base:
    pass


@dataclass(frozen=True)
class Chosen(Base):
    inner: Inner


def all_subclasses(kind: type) -> Iterator[type]:
    for each in kind.__subclasses__():
        yield each
        yield from all_subclasses(each)


def plain(**settings: Any) -> dict[str, Any]:
    return plain_form(settings)


def loaded(values: Any) -> Any:
    file = io.BytesIO()
    torch.save(values, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_settings_become_config_form() -> None:
    assert plain(objective=DPO(beta=0.3), reference=AdapterOff(), schedule=Linear(warmup=2)) == {
        "objective": {
            "class_path": "dpo_lightning.DPO",
            "init_args": {"beta": 0.3, "label_smoothing": 0.0},
        },
        "reference": {"class_path": "dpo_lightning.AdapterOff", "init_args": {}},
        "schedule": {"class_path": "dpo_lightning.Linear", "init_args": {"warmup": 2, "floor": 0.0}},
    }


def test_settings_without_alternatives_are_their_fields() -> None:
    assert plain(lora=LoRA(r=3, target_modules=["q_proj"]))["lora"] == {
        "r": 3,
        "alpha": 32.0,
        "dropout": 0.0,
        "target_modules": ["q_proj"],
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
        "target_parameters": None,
        "exclude_modules": None,
        "trainable_token_indices": None,
        "ensure_weight_tying": False,
    }


def test_a_class_is_named_by_the_outermost_package_that_exports_it() -> None:
    class Inside:
        pass

    named = [DPO, Precomputed, Linear, SGD, Chosen, Inside]
    assert [public_path(kind) for kind in named] == [
        "dpo_lightning.DPO",
        "dpo_lightning.Precomputed",
        "dpo_lightning.Linear",
        "torch.optim.SGD",
        f"{__name__}.Chosen",
        f"{__name__}.{Inside.__qualname__}",
    ]


def test_every_setting_of_the_package_has_a_public_name() -> None:
    package = [kind for base in (AnyObjective, Divergence, Reference, Schedule) for kind in all_subclasses(base)]
    settings = {kind for kind in package if kind.__module__.startswith("dpo_lightning.") and is_dataclass(kind)}

    assert len(settings) > 45
    assert {public_path(kind) for kind in settings} == {f"dpo_lightning.{kind.__name__}" for kind in settings}


def test_nested_settings_and_paths() -> None:
    hparams = plain(own=Chosen(Inner(Path("a/b"))), where=[Path("c")], by_name={"d": (1, Path("e"))})

    assert hparams["own"]["init_args"] == {"inner": {"path": "a/b"}}
    assert hparams["own"]["class_path"].endswith("test_plain_form.Chosen")
    assert hparams["where"] == ["c"]
    assert hparams["by_name"] == {"d": [1, "e"]}
    assert loaded(hparams) == hparams


def test_numbers_and_strings_that_are_objects_become_plain() -> None:
    hparams = plain(objective=DPO(beta=np.float64(0.25)), colour=Colour.RED, level=Level.HIGH, dtype=torch.bfloat16)

    assert loaded(hparams) == hparams
    assert type(hparams["objective"]["init_args"]["beta"]) is float
    assert (hparams["colour"], hparams["level"], hparams["dtype"]) == ("red", 3, torch.bfloat16)
    assert [type(hparams[name]) for name in ("colour", "level")] == [str, int]
