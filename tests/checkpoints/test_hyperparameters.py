"""Hyperparameters survive a checkpoint that is loaded with plain types only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.cli import instantiate_module
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.optim import SGD, Adam, AdamW

from dpo_lightning import (
    DPO,
    IPO,
    KTO,
    FrozenAdapter,
    FrozenCopy,
    LoRA,
    Precomputed,
    PreferenceModule,
    Reference,
    Schedule,
)
from dpo_lightning.checkpoints.constructors import made_by_parser
from dpo_lightning.checkpoints.hyperparameters import plain_hyperparameters
from dpo_lightning.errors import InputError
from dpo_lightning.losses import SFT
from dpo_lightning.training.schedules import Constant, Cosine, Linear
from tests.helpers.runs import data, saved_model, trainer
from tests.helpers.tiny import tiny_llama


def plain(**hparams: Any) -> dict[str, Any]:
    plain_hyperparameters(hparams)
    assert hparams.pop("_instantiator") == "lightning.pytorch.cli.instantiate_module"
    return hparams


OLDER = {
    "objective": [("losses.dpo.DPO", DPO()), ("losses.kto.KTO", KTO())],
    "reference": [("reference.frozen.FrozenCopy", FrozenCopy()), ("reference.precomputed.Precomputed", Precomputed())],
    "schedule": [("training.schedules.Linear", Linear()), ("schedules.Cosine", Cosine())],
}


@pytest.mark.parametrize(("argument", "path", "expected"), [(a, *each) for a, paths in OLDER.items() for each in paths])
def test_paths_of_older_checkpoints_are_read(argument: str, path: str, expected: Any) -> None:
    hparams = {"policy": "some/model", argument: {"class_path": f"dpo_lightning.{path}", "init_args": vars(expected)}}
    module = instantiate_module(PreferenceModule, hparams)

    found = {"objective": module.objective, "reference": module.reference_settings, "schedule": module._schedule}
    assert found[argument] == expected


def test_what_has_no_plain_form_is_dropped() -> None:
    assert plain(policy=tiny_llama(), optimizer=lambda _: None, kind=DPO, kept=1) == {"kept": 1}


def test_what_is_dropped_is_named_unless_it_is_the_default() -> None:
    def default(_: Any) -> None: ...

    class Owner:
        def __init__(self, judge: Any, optimizer: Any = default) -> None: ...

    assert plain_hyperparameters({"judge": nn.Identity(), "optimizer": default, "kept": 1}, Owner).lost == {
        "judge": "Identity"
    }
    assert plain_hyperparameters({"optimizer": print}, Owner).lost == {"optimizer": "builtin_function_or_method"}
    assert PreferenceModule("some/model").not_held == {}


class OtherDefault(PreferenceModule):
    """Its optimizer by default is not that of its base class."""

    def __init__(self, policy: Any, optimizer: Any = lambda params: SGD(params, lr=0.3)) -> None:
        super().__init__(policy, optimizer=optimizer)


class Fixes(PreferenceModule):
    """Its constructor takes no objective and no schedule."""

    def __init__(self, policy: Any, **settings: Any) -> None:
        super().__init__(policy, Unheld(), schedule=Falling(), **settings)


def test_a_base_classes_default_is_none_of_a_subclass_with_its_own() -> None:
    default = PreferenceModule.__init__.__kwdefaults__["optimizer"]
    assert OtherDefault("some/model", default).not_held == {"optimizer": "function"}
    assert OtherDefault("some/model").not_held == PreferenceModule("some/model", optimizer=default).not_held == {}


def test_an_optimizer_that_the_parser_would_not_make_is_not_held() -> None:
    module = OtherDefault("some/model", partial(SGD, lr=0.1))
    assert "optimizer" not in module.hparams
    assert module.not_held == {
        "optimizer": "partial in an argument without a type: annotate it as OptimizerCallable",
    }


@pytest.mark.filterwarnings("error:Unheld")
def test_what_the_class_sets_itself_is_not_asked_for() -> None:
    assert Fixes("some/model").not_held == {}
    assert Fixes("some/model", optimizer=print).not_held == {"optimizer": "builtin_function_or_method"}


def test_the_class_of_an_optimizer_is_held_as_a_partial_is() -> None:
    module = PreferenceModule("some/model", optimizer=SGD)
    assert module.not_held == {}
    assert module.hparams["optimizer"]["class_path"] == "torch.optim.SGD"
    assert module.hparams["optimizer"]["init_args"]["lr"] == SGD([torch.zeros(1)]).defaults["lr"]


@pytest.mark.parametrize("given", [AdamW, partial(AdamW, lr=0.1), SGD, partial(Adam, amsgrad=True)], ids=str)
def test_an_optimizer_comes_back_with_its_own_defaults(given: Any) -> None:
    """The parser would fill in those of the argument's default, such as a weight decay of 0."""
    held = PreferenceModule("some/model", optimizer=given).hparams["optimizer"]
    made = made_by_parser(PreferenceModule, {"optimizer": held})["optimizer"]
    assert made([torch.zeros(1)]).defaults == given([torch.zeros(1)]).defaults


def test_the_argument_for_which_a_partial_is_not_held_is_named() -> None:
    module = PreferenceModule("some/model", optimizer=partial(SGD, lr=0.1, momentum=torch.tensor(0.9)))
    assert module.not_held == {"optimizer": "partial of SGD, whose momentum is a Tensor"}


def test_an_optimizer_that_is_a_partial_is_held() -> None:
    module = PreferenceModule("some/model", optimizer=partial(SGD, lr=0.5, momentum=0.9))

    assert module.not_held == {}
    assert module.hparams["optimizer"]["class_path"].endswith(".SGD")
    assert module.hparams["optimizer"]["init_args"] == {"lr": 0.5, "momentum": 0.9}


class Bare(FrozenCopy):
    """A reference with a constructor of its own, whose argument no field holds."""

    def __init__(self, source: str) -> None:
        super().__init__(source)


class Plain(Reference):
    def bind(self, policy: nn.Module) -> Any: ...


class Falling(Schedule):
    def __call__(self, optimizer: Any, total_steps: float) -> Any: ...


class Unheld(DPO):
    """An objective that no checkpoint holds."""

    def __init__(self, strength: float = 0.1) -> None:
        super().__init__(strength)


def local_class(base: type) -> type:
    @dataclass(frozen=True)
    class Local(base):  # type: ignore[misc]
        pass

    return Local


@dataclass(frozen=True)
class Doubles(Constant):
    """Its field is another one after each construction."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", self.gain * 2)


@dataclass(frozen=True)
class MadeOnce(Constant):
    """It is not made from what its field became."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.gain > 1:
            raise ValueError("gain is too large")
        object.__setattr__(self, "gain", 2.0)


LOCAL = r"cannot hold Local: nothing finds .*local_class.<locals>.Local: define the class at the top of a file$"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reference": Plain()}, "^reference Plain: a checkpoint cannot hold Plain: make it a frozen dataclass, whose"),
        ({"reference": Bare("x")}, "^reference Bare: a checkpoint cannot hold Bare: make it a frozen dataclass"),
        ({"reference": Precomputed(source=Plain())}, "^reference Precomputed: a checkpoint cannot hold Plain: make it"),
        ({"schedule": Falling()}, "^schedule Falling: a checkpoint cannot hold Falling: make it a frozen dataclass"),
        (
            {"schedule": Doubles()},
            r"cannot hold Doubles: Doubles\(gain=2.0\) makes gain 4.0: let its __post_init__ leave",
        ),
        (
            {"schedule": MadeOnce()},
            r"cannot hold MadeOnce: it cannot be made again from its fields: gain is too large$",
        ),
        ({"schedule": local_class(Constant)()}, LOCAL),
        ({"reference": local_class(FrozenCopy)()}, LOCAL),
    ],
    ids=[
        *("no dataclass", "own constructor", "inside another", "schedule"),
        *("changes itself", "not made again", "local schedule", "local reference"),
    ],
)
def test_settings_that_a_checkpoint_would_lose_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PreferenceModule("some/model", **settings)


def test_a_local_class_of_another_argument_is_not_held() -> None:
    local = "Local, whose class is not at the top of a file"
    with pytest.warns(UserWarning, match=LOCAL.replace("$", ": pass it to load_from_checkpoint again")):
        assert PreferenceModule("some/model", local_class(DPO)(0.4)).not_held == {"objective": local}

    class Optimizer(SGD):
        pass

    named = {"optimizer": "Optimizer, whose class is not at the top of a file"}
    assert PreferenceModule("some/model", optimizer=partial(Optimizer, lr=0.1)).not_held == named


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"objective": IPO(tau=0.3, per_token=True), "reference": FrozenCopy("x", {"revision": "main"})},
        {"objective": SFT(), "schedule": Linear(warmup=0.2)},
        {"lora": LoRA(r=3), "reference": FrozenAdapter(), "gradient_checkpointing": True},
        {"quantization_config": {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.bfloat16}},
    ],
    ids=["default", "ipo", "sft", "lora", "qlora"],
)
def test_a_module_comes_back_from_its_checkpoint_with_the_same_settings(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    module = PreferenceModule("some/model", **settings)
    checkpoint = {
        "state_dict": {},
        "hyper_parameters": dict(module.hparams),
        "pytorch-lightning_version": "2.6.6",
        "hparams_name": "kwargs",
    }
    torch.save(checkpoint, tmp_path / "x.ckpt")
    assert torch.load(tmp_path / "x.ckpt", weights_only=True)["hyper_parameters"] == module.hparams

    hparams = torch.load(tmp_path / "x.ckpt", weights_only=True)["hyper_parameters"]
    hparams.pop("_instantiator")
    again = instantiate_module(PreferenceModule, hparams)

    assert again.objective == module.objective
    assert again.reference_settings == module.reference_settings
    assert again.policy_source.options == module.policy_source.options
    assert again._schedule == module._schedule == settings.get("schedule", Constant())
    assert again.policy_name == "some/model"


class Keyed(PreferenceModule):
    """A project's module with a secret of its own."""

    def __init__(self, policy: str, api_key: str, endpoint: str, **settings: Any) -> None:
        super().__init__(policy, **settings)
        self.save_hyperparameters(ignore=["policy"])


def test_no_secret_is_held_or_logged(tmp_path: Path) -> None:
    kwargs = {"token": "t0psecret", "revision": "main"}
    policy = saved_model(tmp_path / "model")
    model = Keyed(policy, "k3ysecret", "https://me:w0rdpass@host", objective=SFT(), model_kwargs=kwargs)
    logger = CSVLogger(tmp_path)
    fit = trainer(max_steps=1, logger=logger)
    fit.fit(model, data(tmp_path))
    fit.save_checkpoint(tmp_path / "step=1.ckpt")
    saved = torch.load(tmp_path / "step=1.ckpt", weights_only=True)
    written = (Path(logger.log_dir) / "hparams.yaml").read_text()
    for text in (str(saved["hyper_parameters"]), str(saved["not_held"]), written):
        assert not [each for each in ("t0psecret", "w0rdpass", "k3ysecret") if each in text], text
    assert saved["hyper_parameters"]["model_kwargs"]["revision"] == "main"
    assert saved["not_held"]["api_key"] == "secret"
    with pytest.raises(
        InputError, match=r"does not hold its api_key, a secret: load_from_checkpoint\(\.\.\., api_key=it"
    ):
        Keyed.load_from_checkpoint(tmp_path / "step=1.ckpt", policy=policy)
    again = Keyed.load_from_checkpoint(tmp_path / "step=1.ckpt", policy=policy, api_key="k3ysecret")
    assert again.hparams["model_kwargs"] == {"revision": "main"}
    assert again.hparams["endpoint"] == "https://***@host"
