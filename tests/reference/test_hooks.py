"""A module before its model is built, as tools see it: `hasattr`, copies, pickles, summaries."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import torch
from lightning.pytorch.utilities.model_summary import ModelSummary
from lightning.pytorch.utilities.parsing import lightning_hasattr
from torch.optim import SGD

from dpo_lightning import DPO, FrozenCopy, LoRA, PreferenceModule
from dpo_lightning.errors import RunError
from tests.helpers.runs import data, module, saved_model, trainer

PARTS = ["policy", "reference", "models"]


@pytest.mark.parametrize("part", PARTS)
def test_what_is_not_built_is_absent_and_says_what_to_do(part: str) -> None:
    model = module()
    assert not hasattr(model, part)
    assert getattr(model, part, None) is None
    with pytest.raises(RunError, match=r"^the model is not built yet: call configure_model\(\) first; a Trainer does"):
        getattr(model, part)

    model.configure_model()
    assert hasattr(model, part)


def test_another_name_is_missing_in_torchs_words() -> None:
    with pytest.raises(AttributeError, match="'PreferenceModule' object has no attribute 'polcy'"):
        getattr(module(), "polcy")  # noqa: B009 - as a tool would


def copied(model: PreferenceModule) -> PreferenceModule:
    return copy.deepcopy(model)


def pickled(model: PreferenceModule) -> PreferenceModule:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("again", [copied, pickled])
def test_a_copy_of_an_unbuilt_module_trains_as_the_module_does(again: Callable, tmp_path) -> None:
    settings = {"objective": DPO(beta=0.3), "reference": FrozenCopy(), "lora": LoRA(r=2)}
    model = PreferenceModule(saved_model(tmp_path / "model"), optimizer=partial(SGD, lr=0.1), **settings)
    other = again(model)

    assert (other.hparams, other.not_held, other.objective) == (model.hparams, {}, model.objective)
    for each in (model, other):
        torch.manual_seed(0)
        trainer(max_steps=2).fit(each, data(tmp_path))
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("again", [copied, pickled])
def test_the_default_optimizer_stays_the_default(again: Callable) -> None:
    model = PreferenceModule("some/model")

    assert again(model)._optimizer is model._optimizer


def test_a_copy_of_a_built_module_has_a_model_of_its_own() -> None:
    model = module()
    model.configure_model()
    other = copy.deepcopy(model)

    assert other.policy is other.models.policy
    assert other.policy is not model.policy


def test_tools_look_through_an_unbuilt_module() -> None:
    model = module()

    assert not lightning_hasattr(model, "policy")
    assert "running_mean" in str(ModelSummary(model))
    assert "policy" in dir(model)
