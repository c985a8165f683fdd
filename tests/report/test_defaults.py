"""Settings that differ, without importing a class, against the signatures of the classes."""

from __future__ import annotations

import inspect
import pydoc

import pytest

from dpo_lightning.report.defaults import changed, defaults_of, flat, short_name


@pytest.mark.parametrize(
    "path",
    [
        "lightning.pytorch.Trainer",
        "torch.optim.AdamW",
        "dpo_lightning.PreferenceModule",
        "dpo_lightning.PreferenceDataModule",
        "dpo_lightning.SampleTable",
        "dpo_lightning.lab.LabDataModule",
        "dpo_lightning.DPO",
        "dpo_lightning.KTO",
        "dpo_lightning.Cosine",
        "dpo_lightning.LoRA",
        "lightning.pytorch.callbacks.ModelCheckpoint",
    ],
)
def test_plain_defaults_are_those_of_the_signature(path) -> None:
    signature = inspect.signature(pydoc.locate(path))
    plain = {
        name: [*argument.default] if isinstance(argument.default, tuple) else argument.default
        for name, argument in signature.parameters.items()
        if isinstance(argument.default, bool | int | float | str | tuple | None)
    }
    read = defaults_of(path)
    assert {name: read[name] for name in plain if name in read} == {name: plain[name] for name in plain if name in read}
    assert len([name for name in plain if name in read]) >= len(plain) - 1
    assert read


def test_what_is_not_installed_has_no_defaults() -> None:
    for path in ("no_such_package.Thing", "dpo_lightning.NoSuchClass", "Thing", "", "a..b"):
        assert defaults_of(path) == {}


def test_only_what_differs_is_named() -> None:
    config = {
        "seed_everything": 3,
        "trainer": {"max_epochs": 2, "accelerator": "auto", "logger": [{"class_path": "a.CSVLogger", "init_args": {}}]},
        "model": {
            "class_path": "dpo_lightning.PreferenceModule",
            "init_args": {
                "policy": "x",
                "reference": None,
                "objective": {"class_path": "dpo_lightning.DPO", "init_args": {"beta": 0.1, "label_smoothing": 0.2}},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-6, "betas": [0.9, 0.999]}},
            },
        },
        "ckpt_path": None,
    }
    beta = defaults_of("dpo_lightning.DPO")["beta"]
    assert changed(config) == {
        "seed_everything": 3,
        "trainer.max_epochs": 2,
        "trainer.logger.0": "CSVLogger",
        "model": "PreferenceModule",
        "model.policy": "x",
        "model.objective": "DPO",
        **({} if beta == 0.1 else {"model.objective.beta": 0.1}),
        "model.objective.label_smoothing": 0.2,
        "model.optimizer": "AdamW",
        "model.optimizer.lr": 1e-6,
    }


def test_every_setting_has_a_key() -> None:
    config = {"model": {"class_path": "a.b.C", "init_args": {"x": {"y": 1}, "of": [{"class_path": "D"}, 3], "no": {}}}}
    assert flat(config) == {"model": "C", "model.x.y": 1, "model.of.0": "D", "model.of.1": 3, "model.no": {}}
    assert short_name("a.b.C") == "C"
