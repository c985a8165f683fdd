"""`Export` beside Lightning's callbacks and Trainer flags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from dpo_lightning import LoRA
from dpo_lightning.callbacks import Export
from dpo_lightning.errors import InputError
from dpo_lightning.reference import FrozenCopy
from tests.helpers import runs
from tests.helpers.tiny import tiny_llama
from tests.policy.common import TOKENS, logits


class Doubles(pl.Callback):
    """Changes the weights at the very end, in one hook or the other."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self.double)

    def double(self, trainer: pl.Trainer, pl_module: Any) -> None:
        with torch.no_grad():
            pl_module.policy.lm_head.weight.mul_(2)


SWAPS = {
    "ema": lambda: EMAWeightAveraging(decay=0.5),
    "swa": lambda: StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1, device=None),
    "on_train_end": lambda: Doubles("on_train_end"),
    "on_fit_end": lambda: Doubles("on_fit_end"),
}


def error(directory: Path, policy: torch.nn.Module) -> float:
    loaded = AutoModelForCausalLM.from_pretrained(directory).eval()
    return (logits(loaded, TOKENS) - logits(policy.eval(), TOKENS)).abs().max().item()


@pytest.mark.filterwarnings(
    "ignore:You're using the WeightAveraging:UserWarning", "ignore:SWA is currently:UserWarning"
)
@pytest.mark.filterwarnings("ignore:Swapping scheduler:UserWarning")
@pytest.mark.parametrize("first", [True, False], ids=["export first", "export last"])
@pytest.mark.parametrize("swap", SWAPS)
def test_it_has_the_weights_that_training_ends_with(run, tmp_path, swap, first):
    callbacks = [Export(str(tmp_path / "out")), SWAPS[swap]()]
    module = runs.module(lr=1e-2)
    module.configure_model()  # so that the averaging finds the weights
    fitted = run(*(callbacks if first else callbacks[::-1]), module=module, max_epochs=3)
    assert error(tmp_path / "out", fitted.module.policy) < 1e-4


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["whole", "adapter"])
def test_the_best_checkpoint_where_that_is_asked(run, tmp_path, lora):
    keep = ModelCheckpoint(tmp_path / "kept", monitor="val/loss", save_top_k=1, mode="max")
    export = Export(str(tmp_path / "out"), str(tmp_path / "merged") if lora else None, best=True)
    module = runs.module(runs.saved_model(tmp_path / "model"), lr=1e-2, lora=lora)
    fitted = run(export, keep, module=module, enable_checkpointing=True, max_epochs=3)
    best: Any = runs.module(str(tmp_path / "model"), lora=lora)
    best.configure_model()
    best.load_state_dict(torch.load(keep.best_model_path, weights_only=True)["state_dict"], strict=False)
    assert error(tmp_path / ("merged" if lora else "out"), best.policy) < 1e-4
    assert error(tmp_path / ("merged" if lora else "out"), fitted.module.policy) > 1e-2  # the last is another


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging:UserWarning")
@pytest.mark.parametrize("first", [True, False], ids=["export first", "export last"])
def test_each_checkpoint_under_an_average_is_exported_as_it_is_saved(run, tmp_path, first):
    callbacks = [Export(str(tmp_path / "out"), every_checkpoint=True), EMAWeightAveraging(decay=0.9)]
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=4, save_top_k=-1, filename="{step}")
    run(*(callbacks if first else callbacks[::-1]), keep, module=runs.module(lr=1e-2), enable_checkpointing=True)
    saved: Any = runs.module()
    saved.load_state_dict(torch.load(tmp_path / "kept/step=4.ckpt", weights_only=True)["state_dict"])
    assert error(tmp_path / "out-step-4", saved.policy) < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_merging_tied_adapters_that_peft_cannot_copy_is_refused_at_the_start(run, tmp_path):
    lora = LoRA(r=2, target_modules=["q_proj", "embed_tokens"], ensure_weight_tying=True)
    module = runs.module(tiny_llama(tie_word_embeddings=True), lora=lora)
    with pytest.raises(InputError, match=r"^Export.merged_path: the adapter cannot be copied, .*ensure_weight_tying"):
        run(Export(merged_path=str(tmp_path / "merged")), module=module)


def test_best_without_a_monitor_is_refused_at_the_start(run, tmp_path):
    with pytest.raises(InputError, match=r"^Export.best: one ModelCheckpoint with a monitor .*none of them does"):
        run(Export(str(tmp_path / "out"), best=True), ModelCheckpoint(tmp_path / "kept"), enable_checkpointing=True)


def test_fast_dev_run_leaves_an_earlier_export_alone(run, tmp_path):
    run(Export(str(tmp_path / "out"), every_checkpoint=True))
    before = (tmp_path / "out/model.safetensors").read_bytes()
    run(Export(str(tmp_path / "out"), every_checkpoint=True), fast_dev_run=True)
    assert (tmp_path / "out/model.safetensors").read_bytes() == before


@pytest.mark.parametrize("place", ["same", "relative", "link", "above", "merged", "numbered", "reference", "base"])
def test_the_directory_that_the_run_reads_is_refused(run, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    policy = runs.saved_model(tmp_path / ("out-step-4" if place == "numbered" else "top/model"))
    os.symlink(policy, tmp_path / "link")
    (tmp_path / "top/config.json").parent.mkdir(exist_ok=True)
    (tmp_path / "top/config.json").touch()
    settings: dict[str, Any] = {"lora": LoRA(r=2)} if place == "merged" else {}
    if place == "reference":
        settings = {"reference": FrozenCopy(policy)}
        policy = tiny_llama()
    if place == "base":
        run(Export("adapter"), module=runs.module(policy, lora=LoRA(r=2)), max_epochs=1)
        policy = "adapter"
    export = {
        "relative": lambda: Export("top/../top/model/."),
        "link": lambda: Export("link"),
        "above": lambda: Export("top"),
        "merged": lambda: Export("out", merged_path="link"),
        "numbered": lambda: Export("out", every_checkpoint=True),
    }.get(place, lambda: Export(str(tmp_path / "top/model")))
    with pytest.raises(InputError, match="that is where the run reads its model from"):
        run(export(), module=runs.module(policy, **settings))


def test_two_exports_into_one_directory_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="give two directories"):
        run(Export(str(tmp_path / "out"), str(tmp_path / "out")), module=runs.module(lora=LoRA(r=2)))
    with pytest.raises(InputError, match=r"^Export.path: give the directory"):
        Export()


def test_another_dtype(run, tmp_path):
    run(Export(str(tmp_path / "out"), dtype="bfloat16"))
    assert {value.dtype for value in load_file(tmp_path / "out/model.safetensors").values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").dtype == torch.bfloat16
    with pytest.raises(InputError, match=r"^export: dtype 'bf16' is not known: take one of float32, bfloat16, float16"):
        Export("out", dtype="bf16")


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_an_adapter_on_tied_embeddings(run, tmp_path, target):
    lora = LoRA(r=4, target_modules=["q_proj", target])
    module = runs.module(runs.saved_model(tmp_path / "model", tie_word_embeddings=True), lr=1e-2, lora=lora)
    run(Export(str(tmp_path / "out"), merged_path=str(tmp_path / "merged")), module=module)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), tmp_path / "out")
    assert error(tmp_path / "merged", module.policy) < 1e-4
    assert (logits(adapted.eval(), TOKENS) - logits(module.policy.eval(), TOKENS)).abs().max() < 1e-4


def test_new_adapters_over_a_trained_one(run, tmp_path):
    """The start is the trained adapter, the reference too; only merged weights can be exported."""
    run(Export(str(tmp_path / "sft")), module=runs.module(runs.saved_model(tmp_path / "model"), 1e-2, lora=LoRA(r=4)))
    module = runs.module(str(tmp_path / "sft"), lr=1e-2, lora=LoRA(r=2))
    with pytest.raises(InputError, match=r"^Export.path: the adapter lies over weights that another one was merged in"):
        run(Export(str(tmp_path / "out")), module=runs.module(str(tmp_path / "sft"), lora=LoRA(r=2)))
    fitted = run(Export(merged_path=str(tmp_path / "merged")), module=module)
    assert fitted.losses[0] == pytest.approx(0.6931, abs=1e-4)
    assert error(tmp_path / "merged", module.policy) < 1e-4
    fitted.trainer.save_checkpoint(tmp_path / "last.ckpt")
    again: Any = type(module).load_from_checkpoint(tmp_path / "last.ckpt")
    again.configure_model()
    again.policy_source.give_back()  # as the run has done with its own
    assert torch.equal(logits(again.policy.eval(), TOKENS), logits(module.policy.eval(), TOKENS))


def test_an_export_that_is_not_the_policy_leaves_the_earlier_one(run, tmp_path, monkeypatch):
    run(Export(str(tmp_path / "out")))
    before = sorted(path.name for path in tmp_path.iterdir())
    kept = (tmp_path / "out/model.safetensors").read_bytes()
    save = type(tiny_llama()).save_pretrained

    def wrong(model: Any, directory: Any, **settings: Any) -> None:
        save(tiny_llama(seed=9), directory, **settings)

    monkeypatch.setattr(type(tiny_llama()), "save_pretrained", wrong)
    with pytest.raises(InputError, match=r"loaded again, its logits differ from the policy's by .*%"):
        run(Export(str(tmp_path / "out")))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "out/model.safetensors").read_bytes() == kept


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_on_a_base_that_is_on_no_disk_is_refused_at_the_start(run, tmp_path):
    runs.saved_model(tmp_path / "model")
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    policy.resize_token_embeddings(policy.config.vocab_size + 3)
    module = runs.module(policy, lr=1e-2, lora=LoRA(r=2))
    with pytest.raises(InputError, match=r"^Export.path: its base model is a module whose model.embed_tokens.weight"):
        run(Export(str(tmp_path / "out"), str(tmp_path / "merged")), module=module)
    run(Export(merged_path=str(tmp_path / "merged")), module=module, max_epochs=1)
    assert error(tmp_path / "merged", module.policy) < 1e-4
