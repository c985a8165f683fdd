"""A checkpoint is taken onto the base and the reference that it was trained with, and no other."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from dpo_lightning import SFT, FrozenCopy, LoRA, Precomputed, PreferenceModule
from dpo_lightning.callbacks import EMAReference
from dpo_lightning.checkpoints.contents import IDENTITY
from dpo_lightning.errors import InputError
from dpo_lightning.reference import NoReference
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama

BASE = "trained on other base weights than this run's policy: .* tensors differ"
REFERENCE = "compared with another reference than this FrozenCopy: .* tensors differ"


def saved(path: Path, *callbacks: Any, **settings: Any) -> str:
    """A checkpoint of two steps on the model in a directory."""
    policy = settings.pop("policy", None) or saved_model(path / "model")
    run = trainer(max_steps=2, callbacks=[*callbacks])
    run.fit(module(policy, **settings), data(path))
    run.save_checkpoint(path / "step=2.ckpt")
    return str(path / "step=2.ckpt")


def overwrite(path: Path, **settings: Any) -> str:
    """Other weights in the place of the model."""
    return saved_model(path / "model", **{"seed": 9, **settings})


def refused(match: str, call: Any) -> None:
    with pytest.raises(InputError, match=match) as error:
        call()
    assert "\n" not in str(error.value)


def everywhere(path: Path, checkpoint: str, **settings: Any) -> list[Any]:
    """Each way to take a checkpoint onto the model in the directory."""
    return [
        lambda: trainer(max_steps=3).fit(module(str(path / "model"), **settings), data(path), ckpt_path=checkpoint),
        lambda: trainer().validate(module(str(path / "model"), **settings), data(path), ckpt_path=checkpoint),
        lambda: PreferenceModule.load_from_checkpoint(checkpoint),
    ]


def test_adapters_are_not_taken_onto_another_base(tmp_path):
    checkpoint = saved(tmp_path, lora=LoRA(r=2))
    for takes in everywhere(tmp_path, checkpoint, lora=LoRA(r=2)):
        takes()
    overwrite(tmp_path)
    for takes in everywhere(tmp_path, checkpoint, lora=LoRA(r=2)):
        refused(BASE, takes)
    refused(BASE, lambda: PreferenceModule.load_from_checkpoint(checkpoint, objective=SFT(), reference=NoReference()))


def test_a_policy_that_was_overwritten_is_no_reference(tmp_path):
    checkpoint = saved(tmp_path)
    overwrite(tmp_path)
    for takes in everywhere(tmp_path, checkpoint):
        refused(REFERENCE, takes)
    alone = PreferenceModule.load_from_checkpoint(checkpoint, objective=SFT(), reference=NoReference())
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(value, alone.state_dict()[name]) for name, value in state.items())


def test_a_fit_does_not_go_on_without_the_reference_that_it_compared_with(tmp_path):
    checkpoint = saved(tmp_path)
    again = module(str(tmp_path / "model"), reference=NoReference(), step_zero_check=False)
    with pytest.raises(InputError, match="had reference FrozenCopy, and this run asks for NoReference"):
        trainer(max_steps=3).fit(again, data(tmp_path), ckpt_path=checkpoint)


def test_a_directory_may_have_moved(tmp_path):
    checkpoint = saved(tmp_path, lora=LoRA(r=2))
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    trainer(max_steps=3).fit(module(str(tmp_path / "elsewhere"), lora=LoRA(r=2)), data(tmp_path), ckpt_path=checkpoint)


@pytest.mark.parametrize(
    ("lora", "match"),
    [
        (LoRA(r=4), "lora.r 2, and this run asks for 4"),
        (LoRA(r=2, use_dora=True), "lora.use_dora False, and this run asks for True"),
        (LoRA(r=2, target_modules=["q_proj"]), "lora.target_modules"),
        (LoRA(r=2, alpha=8), "lora.alpha 32.0, and this run asks for 8: .*model.resume=changed"),
        (LoRA(r=2, use_rslora=True), "lora.use_rslora False, and this run asks for True"),
    ],
)
def test_other_adapters_are_refused_by_name(tmp_path, lora, match):
    checkpoint = saved(tmp_path, lora=LoRA(r=2))
    takes = everywhere(tmp_path, checkpoint, lora=lora)
    takes[2] = lambda: PreferenceModule.load_from_checkpoint(checkpoint, lora=lora)
    for each in takes:
        refused(match, each)


@pytest.mark.parametrize(
    "lora",
    [
        LoRA(r=2, init_lora_weights="gaussian"),
        LoRA(r=2, target_modules=r".*\.(q|k|v|o|gate|up|down)_proj"),
        LoRA(r=2, exclude_modules=["lm_head"]),
    ],
    ids=["first weights", "a pattern", "what is left out anyway"],
)
def test_the_same_adapter_in_other_words_goes_on(tmp_path, lora):
    checkpoint = saved(tmp_path, lora=LoRA(r=2))
    run = trainer(max_steps=3)
    run.fit(module(str(tmp_path / "model"), lora=lora), data(tmp_path), ckpt_path=checkpoint)
    assert run.global_step == 3


def test_the_scale_of_adapters_can_be_changed(tmp_path):
    checkpoint = saved(tmp_path, lora=LoRA(r=2))
    loaded = PreferenceModule.load_from_checkpoint(checkpoint, lora=LoRA(r=2, alpha=8), resume="changed")
    assert loaded.policy.get_submodule("base_model.model.model.layers.0.self_attn.q_proj").scaling == {"default": 4}
    others = {"lora.r 2": LoRA(r=4), "lora.init_lora_weights True": LoRA(r=2, init_lora_weights="pissa")}
    for said, lora in others.items():
        other = {"lora": lora, "reference": FrozenCopy(), "resume": "changed"}
        refused(said, lambda other=other: PreferenceModule.load_from_checkpoint(checkpoint, **other))


def test_another_config_is_another_model(tmp_path):
    checkpoint = saved(tmp_path, lora=LoRA(r=2))
    overwrite(tmp_path, seed=0, rms_norm_eps=1e-3)
    refused("whose config has rms_norm_eps 1e-06, and this run asks for 0.001", everywhere(tmp_path, checkpoint)[2])
    overwrite(tmp_path, seed=0, eos_token_id=5)  # no matter of the logits
    PreferenceModule.load_from_checkpoint(checkpoint)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "bf16-mixed"])
def test_the_precision_of_a_run_is_no_other_base(tmp_path, precision):
    checkpoint = saved(tmp_path, lora=LoRA(r=2))

    def validated():
        run = trainer(precision=precision, max_steps=3)
        run.validate(module(str(tmp_path / "model"), lora=LoRA(r=2)), data(tmp_path), ckpt_path=checkpoint)

    validated()
    overwrite(tmp_path)
    refused(BASE, validated)


def test_a_module_that_was_trained_is_not_what_it_began_as(tmp_path):
    policy = tiny_llama()
    start = copy.deepcopy(policy)
    checkpoint = saved(tmp_path, policy=policy)
    refused(REFERENCE, lambda: trainer(max_steps=3).fit(module(policy), data(tmp_path), ckpt_path=checkpoint))
    trainer(max_steps=3).fit(module(start), data(tmp_path), ckpt_path=checkpoint)


def test_a_module_that_only_holds_the_policy_is_compared_with_nothing(tmp_path):
    checkpoint = saved(tmp_path, policy=tiny_llama())
    loaded = PreferenceModule.load_from_checkpoint(checkpoint, policy=tiny_llama(seed=3))
    with pytest.raises(InputError, match="which the module that was given is not: load it again with"):
        trainer().validate(loaded, data(tmp_path))


def test_a_module_as_the_reference_must_be_the_same(tmp_path):
    given = {"reference": tiny_llama(seed=5), "step_zero_check": False}
    checkpoint = saved(tmp_path, **given)
    name = str(tmp_path / "model")
    trainer(max_steps=3).fit(module(name, **given), data(tmp_path), ckpt_path=checkpoint)
    other = module(name, reference=tiny_llama(seed=6), step_zero_check=False)
    refused(
        "another reference than this FrozenModule: .*Give reference= the module of its run",
        lambda: trainer(max_steps=3).fit(other, data(tmp_path), ckpt_path=checkpoint),
    )


def test_another_reference_is_refused_in_a_fit_and_taken_where_it_was_asked_for(tmp_path):
    checkpoint, name = saved(tmp_path), str(tmp_path / "model")
    other = FrozenCopy(saved_model(tmp_path / "other", seed=8))
    given = {"reference": other, "step_zero_check": False}
    refused(
        "the checkpoint's run had reference.checkpoint None, and this run asks for .*other: .*resume=changed",
        lambda: trainer(max_steps=3).fit(module(name, **given), data(tmp_path), ckpt_path=checkpoint),
    )
    trainer(max_steps=3).fit(module(name, resume="changed", **given), data(tmp_path), ckpt_path=checkpoint)
    assert PreferenceModule.load_from_checkpoint(checkpoint, reference=other).reference_settings == other


def test_a_cache_stands_for_its_source(tmp_path):
    cached = {"reference": Precomputed(cache_dir=str(tmp_path / "cache"))}
    checkpoint, name = saved(tmp_path, **cached), str(tmp_path / "model")
    trainer(max_steps=3).fit(module(name), data(tmp_path), ckpt_path=checkpoint)
    overwrite(tmp_path)
    refused(
        "compared with another reference",
        lambda: trainer(max_steps=3).fit(module(name, **cached), data(tmp_path), ckpt_path=checkpoint),
    )


def test_a_reference_that_moved_is_in_the_checkpoint(tmp_path):
    checkpoint = saved(tmp_path, EMAReference(0.5))
    overwrite(tmp_path)
    PreferenceModule.load_from_checkpoint(checkpoint)


def test_tied_weights_are_known_again_and_untied_ones_are_others(tmp_path):
    policy = saved_model(tmp_path / "model", tie_word_embeddings=True)
    checkpoint = saved(tmp_path, policy=policy, lora=LoRA(r=2))
    PreferenceModule.load_from_checkpoint(checkpoint)


def test_a_checkpoint_of_before_is_taken_and_that_is_said(tmp_path, caplog):
    checkpoint = saved(tmp_path)
    before = torch.load(checkpoint, weights_only=True)
    del before[IDENTITY], before["optimizers"]
    torch.save(before, checkpoint)
    with caplog.at_level("INFO"):
        for takes in everywhere(tmp_path, checkpoint):
            takes()
    assert sum("cannot be checked" in message for message in caplog.messages) == 3
