"""Names of other trainers: each leads to a key or a class that is here."""

from __future__ import annotations

import warnings

import pytest

import dpo_lightning
from dpo_lightning.cli.keys import all_keys
from dpo_lightning.cli.other_names import KEYS, LOSSES, _answer
from dpo_lightning.cli.parser_errors import explain
from dpo_lightning.cli.trainer import PreferenceCLI, run_trainer
from dpo_lightning.compat.lightning_cli import ParsingOnly
from tests.parity.grid import LOSSES as SAME_AS_TRL


class Parses(ParsingOnly, PreferenceCLI):
    """Builds nothing."""


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """Every key of `fit` as a flag, each part of it a key as well."""
    words = ["fit", "--model.policy=p", "--data.dataset=d", "--model.schedule=Cosine", "--model.lora={}"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        config = run_trainer([*words, "--model.optimizer=torch.optim.AdamW"], Parses).config["fit"]
    flags = [key.replace("init_args.", "").removesuffix(".class_path") for key in config.keys()]  # noqa: SIM118
    return {".".join(flag.split(".")[: length + 1]) for flag in flags for length in range(flag.count(".") + 1)}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_leads_to_one_that_is_here(name: str, keys: set[str]) -> None:
    key = KEYS[name].partition(",")[0]
    owner, _, setting = key.rpartition(".")
    assert key in keys or setting in next(each.settings for each in all_keys() if each.name == owner)
    said = explain(f"Unrecognized arguments: --trainer.{name}=3", sorted(keys), [])
    assert said == f"unknown key `trainer.{name}`; what other trainers call `{name}` is {KEYS[name]} here"
    assert f"trainer.{name}" not in keys
    assert f"model.{name}" not in keys
    assert f"data.{name}" not in keys


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_leads_to_a_class_that_is_here(name: str) -> None:
    assert isinstance(getattr(dpo_lightning, LOSSES[name].name), type)
    for argument, value in LOSSES[name].settings:
        assert getattr(SAME_AS_TRL[name], argument) is value
    said = explain(f'Parser key "model.objective":\n  Expected a dot import path string: {name}', [], ["DPO"])
    assert said == f"model.objective: no class {name}; what other trainers call `{name}` is {LOSSES[name]} here"


def test_a_loss_is_said_as_a_person_writes_it() -> None:
    assert [str(LOSSES[name]) for name in ("ipo", "sigmoid")] == ["IPO with per_token: true", "DPO"]


@pytest.mark.parametrize("name", SAME_AS_TRL)
def test_a_loss_of_trl_is_what_computes_the_same(name: str) -> None:
    kind = getattr(dpo_lightning, LOSSES[name].name)
    assert isinstance(SAME_AS_TRL[name], kind)


@pytest.mark.parametrize(
    ("place", "answer"),
    [
        ("model.objective.beta", "model.objective.beta"),
        ("model.model_kwargs.revision", "model.model_kwargs, as revision"),
        ("trainer.logger: WandbLogger", "trainer.logger, as WandbLogger"),
        ("trainer.precision, as bf16-mixed", "trainer.precision, as bf16-mixed"),
        ("model.lora; with qlora also another", "model.lora"),
        ("callback EarlyStopping", "trainer.callbacks, as EarlyStopping"),
        ("see elsewhere", None),
        ("model.nowhere", None),
    ],
)
def test_places_of_tables_are_answers(place: str, answer: str | None) -> None:
    assert _answer(place, {key.name: key for key in all_keys()}) == answer
