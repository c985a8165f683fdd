"""Policy and reference of a module: built once, and offered to those who ask."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.model_summary import ModelSummary
from lightning.pytorch.utilities.parsing import lightning_hasattr
from torch import nn
from torch.optim import SGD

from dpo_lightning import DPO, SFT, FrozenCopy, LoRA, PreferenceModule
from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.errors import InputError, NotBuiltError, RunError
from dpo_lightning.logprobs import scorer
from tests.helpers.runs import data, fit, module, saved_model, trainer
from tests.helpers.tiny import PAIRS, tiny_llama


def test_the_policy_is_built_once_and_trains(tmp_path):
    model = module(saved_model(tmp_path / "model"))
    run, _ = fit(tmp_path, model)
    policy = model.policy
    assert policy.training
    assert all(m.training for m in policy.modules())
    run.validate(model, data(tmp_path), verbose=False)
    assert model.policy is policy


def test_before_it_is_built_a_module_says_what_to_do(tmp_path):
    model = module(saved_model(tmp_path / "model"))
    for use in (lambda: model.policy, lambda: model.reference, lambda: model.score(None), model.whole_policy):
        with pytest.raises(RunError, match=r"^the model is not built yet: call configure_model\(\) first; a Tr"):
            use()
    model.configure_model()
    assert model.policy is not None
    assert model.reference.own_models()


def test_the_policy_of_a_built_module_is_not_replaced():
    model = module()
    model.configure_model()
    with pytest.raises(RunError, match="policy cannot be replaced: give the model to the constructor"):
        model.policy = tiny_llama(seed=9)
    assert model.models.scorer.model is model.policy


REPLACED = {
    "policy": (lambda: tiny_llama(seed=9), "the model"),
    "reference": (lambda: tiny_llama(seed=9), "the reference"),
    "models": (lambda: None, "the model"),
    "reference_settings": (lambda: "x", "the reference"),
    "objective": (SFT, "the objective"),
    "comparison": (lambda: None, "the objective"),
}


@pytest.mark.parametrize("is_built", [False, True], ids=["unbuilt", "built"])
@pytest.mark.parametrize("name", REPLACED)
def test_what_the_constructor_is_given_is_not_replaced(name: str, is_built: bool) -> None:
    model = module()
    if is_built:
        model.configure_model()
    other, what = REPLACED[name]
    message = f"^PreferenceModule.{name} cannot be replaced: give {what} to the constructor$"
    with pytest.raises(RunError, match=message):
        setattr(model, name, other())
    for register in (model.add_module, model.register_module):
        with pytest.raises(RunError, match=message):
            register(name, tiny_llama(seed=9))
    assert {child for child, _ in model.named_children()} & {*REPLACED} == {"policy"}


def test_a_subclass_registers_modules_of_its_own() -> None:
    model = module()
    model.add_module("head", nn.Linear(2, 1))
    model.configure_model()
    model.policy = model.policy
    assert {name for name, _ in model.named_children()} >= {"head", "policy"}


def test_an_assignment_before_the_constructor_says_what_to_do() -> None:
    class Early(PreferenceModule):
        def __init__(self, policy: nn.Module) -> None:
            self.policy = policy
            super().__init__(policy)

    with pytest.raises(RunError, match="policy cannot be replaced: give the model to the constructor"):
        Early(tiny_llama())
    with pytest.raises(NotBuiltError, match="is not built yet"):
        _ = PreferenceModule.__new__(PreferenceModule).policy


def test_a_property_of_a_subclass_says_what_it_lacks(tmp_path) -> None:
    class WithVocabulary(PreferenceModule):
        @property
        def vocabulary(self) -> int:
            return self.policy.config.vocab_size

        @cached_property
        def kept(self) -> int:
            return self.vocabulary

        @property
        def broken(self) -> int:
            return self.no_such_thing

    model = WithVocabulary(saved_model(tmp_path / "model"))
    for name in ("vocabulary", "kept"):
        with pytest.raises(NotBuiltError, match=r"^the model is not built yet: call configure_model\(\) first"):
            getattr(model, name)
        assert not hasattr(model, name)
    with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
        _ = model.broken

    model.configure_model()

    assert model.vocabulary == model.kept == model.policy.config.vocab_size


def test_the_policy_is_found_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        module(str(tmp_path / "nowhere")).prepare_data()
    module(saved_model(tmp_path / "model")).prepare_data()


def test_the_policy_is_told_by_its_name_and_as_it_was_given(tmp_path):
    name = saved_model(tmp_path / "model", attention_dropout=0.5)
    model = module(name)
    assert model.policy_name == name
    assert model.original_config() is None

    model.configure_model()

    assert model.original_config()["attention_dropout"] == 0.5
    assert model.policy.config.attention_dropout == 0.0
    assert model.whole_policy() is model.policy


def test_examples_of_loaders_of_ones_own_are_kept():
    model = module()
    model.configure_model()

    assert model.with_reference(collate_padded) is collate_padded
    model.with_reference(collate_padded, PAIRS)

    assert model.examples_of_loaders == [PAIRS]


def test_a_loader_may_be_made_before_the_model():
    model = module()
    late = model.with_reference(collate_tree)
    with pytest.raises(RunError, match=r"call configure_model\(\) first"):
        late(PAIRS)

    model.configure_model()

    assert torch.equal(late(PAIRS).input_ids, collate_tree(PAIRS).input_ids)


def test_a_module_by_itself_is_on_no_mesh():
    assert isinstance(PreferenceModule.device_mesh, property)
    assert module().device_mesh is None


PARTS = ["policy", "reference", "models"]


@pytest.mark.parametrize("part", PARTS)
def test_what_is_not_built_is_absent_and_says_what_to_do(part: str, tmp_path) -> None:
    model = module(saved_model(tmp_path / "model"))
    assert not hasattr(model, part)
    assert getattr(model, part, None) is None
    with pytest.raises(RunError, match=r"^the model is not built yet: call configure_model\(\) first; a Trainer does"):
        getattr(model, part)

    model.configure_model()
    assert hasattr(model, part)


@pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["full", "lora"])
def test_a_module_that_is_given_is_registered_at_once_and_what_it_is_scored_with_later(lora) -> None:
    policy = tiny_llama()
    model = module(policy, lora=lora)
    assert model.policy is policy
    assert {name for name, _ in model.named_parameters()} == {f"policy.{name}" for name, _ in policy.named_parameters()}
    for part in ("reference", "models"):
        assert not hasattr(model, part)
    with pytest.raises(RunError, match="policy cannot be replaced"):
        model.policy = tiny_llama(seed=9)

    model.configure_model()

    assert model.policy is model.models.policy
    assert {id(each) for each in policy.parameters()} <= {id(each) for each in model.parameters()}


def test_a_module_calls_its_policy() -> None:
    model = module()
    tokens = torch.tensor([[1, 2, 3]])
    given = model(tokens, attention_mask=torch.ones_like(tokens)).logits
    assert torch.equal(given, model.policy(tokens).logits)


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


def test_tools_look_through_an_unbuilt_module(tmp_path) -> None:
    model = module(saved_model(tmp_path / "model"))

    assert not lightning_hasattr(model, "models")
    assert "running_mean" in str(ModelSummary(model))
    assert "policy" in dir(model)


def test_a_module_can_be_given_again_after_a_run_that_was_refused(tmp_path: Path) -> None:
    class Refuses(pl.Callback):
        def on_train_start(self, *_: object) -> None:
            raise InputError("no")

    policy = tiny_llama()
    with pytest.raises(InputError, match=r"^no$"):
        trainer(max_steps=1, callbacks=[Refuses()]).fit(module(policy, lora=LoRA(r=2)), data(tmp_path))
    again = module(policy, lora=LoRA(r=4))
    trainer(max_steps=1).fit(again, data(tmp_path))

    assert again.is_trained
    assert not again.policy_source.policy.state_dict().keys() <= tiny_llama().state_dict().keys()  # its adapters stay


def test_the_tree_is_tried_in_the_precision_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[torch.dtype | None] = []

    def problem(_: object) -> None:
        tried.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)

    monkeypatch.setattr(scorer, "tree_problem", problem)
    trainer(max_steps=1, precision="bf16-mixed").fit(module(tiny_llama()), data(tmp_path))
    assert set(tried) == {torch.bfloat16}
