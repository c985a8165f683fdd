"""Settings of a checkpoint run no code: neither that beside a model, nor that of a module on the path."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dpo_lightning import DPO, FrozenCopy, PreferenceModule
from dpo_lightning.checkpoints.trust import (
    refuse_code_settings,
    refuse_unknown_classes,
    saved_arguments,
    trusted_arguments,
)
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, saved_model, trainer

EVIL = "evil_settings_{}"


def module_on_the_path(path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that touches a file when it is imported."""
    name = EVIL.format(path.name.replace("-", "_"))
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Thing:\n    pass\ndef call(*a, **k): ...\n"
    (path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(path))
    return name


def model_with_code(path: Path, marker: Path) -> str:
    """A model directory whose Python touches a file."""
    name = saved_model(path)
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (path / "config.json").write_text(json.dumps(config))
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    code += "from transformers import LlamaConfig, LlamaForCausalLM\n"
    code += "class Config(LlamaConfig):\n    model_type = 'own'\nclass Model(LlamaForCausalLM):\n"
    (path / "own.py").write_text(code + "    config_class = Config\n")
    return name


@pytest.fixture(autouse=True)
def _no_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lightning's command warns of words that are not its own, and saves its config in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """A good checkpoint, whose policy lies in `model`."""
    return fitted_on(saved_model(tmp_path / "model"), tmp_path)


def fitted_on(policy: str, path: Path, **settings: Any) -> Path:
    fit = trainer(max_steps=1)
    fit.fit(module(policy, **settings), data(path))
    fit.save_checkpoint(path / "good.ckpt")
    return path / "good.ckpt"


def fitted_with_code(path: Path) -> tuple[Path, Path]:
    """A checkpoint of a model that brings its code, and the file that the code touches."""
    marker = path / "marker"
    checkpoint = fitted_on(model_with_code(path / "own", marker), path, model_kwargs={"trust_remote_code": True})
    marker.unlink()
    for name in [name for name in sys.modules if name.startswith("transformers_modules.")]:
        del sys.modules[name]
    return checkpoint, marker


def changed(checkpoint: Path, **changes: Any) -> Path:
    """The same with other hyperparameters."""
    saved = torch.load(checkpoint, weights_only=True)
    saved["hyper_parameters"] |= changes
    torch.save(saved, checkpoint.with_name("changed.ckpt"))
    return checkpoint.with_name("changed.ckpt")


def by_library(checkpoint: Path) -> None:
    PreferenceModule.load_from_checkpoint(checkpoint)


def by_library_of_another_policy(checkpoint: Path) -> None:
    PreferenceModule.load_from_checkpoint(checkpoint, policy=str(checkpoint.parent / "model"))


def by_hparams_file(checkpoint: Path) -> None:
    settings = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    (checkpoint.parent / "hparams.yaml").write_text(yaml.safe_dump(settings))
    good = checkpoint.parent / "good.ckpt"
    PreferenceModule.load_from_checkpoint(good, hparams_file=checkpoint.parent / "hparams.yaml")


def by_export(checkpoint: Path) -> None:
    main(["export", str(checkpoint), "--out", str(checkpoint.parent / "out")])


def by_command(stage: str) -> Callable[[Path], None]:
    def run(checkpoint: Path) -> None:
        root = checkpoint.parent
        section = {"class_path": "PreferenceModule", "init_args": {"policy": str(root / "model"), "resume": "changed"}}
        files: dict[str, Any] = {
            "dataset": str(root / "pairs.jsonl"),
            "val_split": "train[:8]",
            "tokenizer": str(root / "model"),
        }
        files |= {"batch_pairs": 4}
        quiet = {"logger": False, "enable_checkpointing": False, "max_steps": 2, "accelerator": "cpu", "devices": 1}
        quiet |= {"enable_progress_bar": False, "callbacks": []}
        config = {
            "model": section,
            "data": {"class_path": "PreferenceDataModule", "init_args": files},
            "trainer": quiet,
        }
        (root / "run.yaml").write_text(yaml.safe_dump(config))
        main([stage, "--config", str(root / "run.yaml"), "--ckpt_path", str(checkpoint)])

    run.__name__ = f"by_{stage}"
    return run


def refusal(door: Callable[[Path], None], checkpoint: Path) -> str:
    """What a door says that does not take a checkpoint."""
    try:
        door(checkpoint)
    except (InputError, SystemExit) as error:
        return str(error)
    return ""


DOORS = [by_library, by_library_of_another_policy, by_hparams_file, by_export]
DOORS += [by_command(stage) for stage in ("validate", "test", "predict", "fit")]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_code_beside_a_model_does_not_run(tmp_path, fitted, door):
    marker = tmp_path / "marker"
    name = model_with_code(tmp_path / "own", marker)
    for kwargs in ({"trust_remote_code": True}, {"trust_remote_code": 1, "revision": None}):
        checkpoint = changed(fitted, policy=name, model_kwargs=kwargs)
        assert "\n" not in refusal(door, checkpoint)
        assert not marker.exists()


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_every_door_takes_a_good_checkpoint(tmp_path, fitted, door, monkeypatch):
    monkeypatch.chdir(tmp_path)
    door(changed(fitted))


def settings_with(name: str) -> list[dict[str, Any]]:
    thing = f"{name}.Thing"
    named = {"class_path": thing, "init_args": {}}
    return [
        {"objective": named},
        {"reference": named},
        {"schedule": named},
        {"optimizer": {"class_path": f"{name}.call"}},
        {"optimizer": f"{name}.call"},
        {"optimizer": {"class_path": "os.system"}},
        {"optimizer": {"class_path": "subprocess.Popen", "init_args": {"args": "true"}}},
        {"objective": thing},
        {"reference": thing},
        {"schedule": json.dumps(named)},
        {"policy": named},
        {"lora": {"class_path": thing}},
        {"lora": {"target_modules": [named]}},
        {"model_kwargs": {"config": named}},
        {"model_kwargs": json.dumps({"config": named})},
        {"objective": {"class_path": "dpo_lightning.LabelSmoothed", "init_args": {"objective": named}}},
        {"_class_path": thing},
        {"_instantiator": f"{name}.call"},
    ]


# The commands that evaluate come through one door, in half a second: each takes a third of the settings.
PARTS = {
    "by_fit": lambda every: [every[0] | every[-2]],
    "by_validate": lambda every: every[::3],
    "by_test": lambda every: every[1::3],
    "by_predict": lambda every: every[2::3],
}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_module_on_the_path_is_not_imported(tmp_path, fitted, door, monkeypatch):
    marker = tmp_path / "marker"
    name = module_on_the_path(tmp_path, marker, monkeypatch)
    every = [*settings_with(name), {"policy": f"{name}.Thing"}]
    for settings in PARTS.get(door.__name__, list)(every):
        assert "\n" not in refusal(door, changed(fitted, **settings)), settings
        assert not marker.exists(), settings
        assert name not in sys.modules, settings


_SAYS = r"(load_from_checkpoint\(\.\.\., \w+=another\)$|is not called)"


@pytest.mark.parametrize("settings", settings_with("evil_not_there"), ids=str)
def test_what_is_refused_is_named_and_how_to_allow_it(settings):
    saved = {"hyper_parameters": {"policy": "model", **settings}}
    with pytest.raises(InputError, match=_SAYS) as refused:
        trusted_arguments(PreferenceModule, saved, "x.ckpt", {})
    assert str(refused.value).startswith("checkpoint x.ckpt")


def test_arguments_where_only_lightning_looks_for_them_are_refused():
    with pytest.raises(InputError, match="module_arguments"):
        saved_arguments({"module_arguments": {"policy": "x"}}, PreferenceModule, "x.ckpt")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"trust_remote_code": True},
        {"weights_only": False},
        {"attn_implementation": "someone/kernel"},
        {"use_kernels": True},
        {"allow_all_kernels": True},
    ],
    ids=str,
)
def test_settings_that_run_code_count_where_the_caller_says_them_of_the_same_model(kwargs):
    settings = {"policy": "a", "model_kwargs": kwargs}
    refuse_code_settings(settings, settings, "checkpoint x.ckpt")
    for said in ({}, {"policy": "a"}, {"policy": "b", "model_kwargs": kwargs}):
        with pytest.raises(InputError, match=f"model_kwargs.{next(iter(kwargs))}"):
            refuse_code_settings(settings, said, "checkpoint x.ckpt")
    reference = {"reference": {"class_path": "dpo_lightning.FrozenCopy", "init_args": {"model_kwargs": kwargs}}}
    with pytest.raises(InputError, match=r"reference\.init_args\.model_kwargs"):
        refuse_code_settings(reference, settings, "checkpoint x.ckpt")


def test_export_takes_the_word_of_the_runs_config(tmp_path):
    fitted, marker = fitted_with_code(tmp_path)
    settings = {"policy": str(tmp_path / "own"), "model_kwargs": {"trust_remote_code": True}}
    checkpoint = changed(fitted, schedule={"class_path": "not_there.Thing"})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"model": settings}))
    main(["export", str(checkpoint), "--out", str(tmp_path / "out"), "--config", str(tmp_path / "run.yaml")])
    assert marker.exists()
    assert (tmp_path / "out/model.safetensors").exists()


def test_the_caller_allows_the_code_beside_a_model(tmp_path):
    checkpoint, marker = fitted_with_code(tmp_path)
    with pytest.raises(InputError, match=r"load_from_checkpoint\(\.\.\., model_kwargs=\.\.\.\)"):
        PreferenceModule.load_from_checkpoint(checkpoint)
    PreferenceModule.load_from_checkpoint(checkpoint, model_kwargs={"trust_remote_code": True})
    assert marker.exists()


class OwnLoss(DPO):
    """An objective of a project."""


def test_what_a_run_saves_by_itself_is_trusted():
    settings = {
        "policy": "some.model",
        "objective": {"class_path": f"{__name__}.OwnLoss", "init_args": {"beta": 0.1}},
        "reference": {"class_path": "dpo_lightning.FrozenCopy", "init_args": {"checkpoint": "a.b"}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1}},
        "schedule": {"class_path": "Constant", "init_args": {}},
        "lora": {"r": 4, "target_modules": ["q_proj"], "init": "gaussian"},
        "model_kwargs": {"revision": "main", "dtype": torch.float32},
    }
    refuse_unknown_classes(settings, PreferenceModule, "checkpoint x.ckpt")
    adafactor = {"optimizer": {"class_path": "transformers.optimization.Adafactor", "init_args": {}}}
    refuse_unknown_classes(adafactor, PreferenceModule, "checkpoint x.ckpt")
    assert FrozenCopy("a.b").checkpoint == "a.b"
