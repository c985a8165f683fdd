"""Optimizers, schedules and callbacks that change them, on a preference run."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    Callback,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
)
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.optim import LBFGS, AdamW

from dpo_lightning import Linear, LoRA, PreferenceModule
from dpo_lightning.callbacks import EMAReference
from dpo_lightning.errors import InputError, RunError
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama


def test_a_gradient_accumulation_scheduler_is_known_to_the_schedule(run):
    model = module(schedule=Linear(warmup=0))
    fitted = run(GradientAccumulationScheduler({0: 1, 1: 4, 2: 5}), module=model, max_epochs=3)
    assert fitted.trainer.global_step == 6 + 2 + 2
    assert fitted.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_lbfgs_evaluates_its_closure(run):
    fitted = run(module=module(optimizer=partial(LBFGS, lr=0.1, max_iter=3)), max_epochs=3)
    assert fitted.losses[-1] < fitted.losses[0]
    assert fitted.trainer.global_step == 18


@pytest.mark.parametrize(
    ("flags", "callbacks"),
    [({"accumulate_grad_batches": 2}, []), ({}, [GradientAccumulationScheduler({0: 1, 1: 2})])],
    ids=["trainer", "callback"],
)
def test_lbfgs_over_several_micro_batches_is_refused(run, flags, callbacks):
    with pytest.raises(InputError, match=r"^LBFGS evaluates the loss .* leave trainer.accumulate_grad_batches at 1"):
        run(*callbacks, module=module(optimizer=partial(LBFGS, lr=0.1)), **flags)


def test_an_epoch_accumulates_on_where_a_run_goes_on_within_it(run, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, every_n_train_steps=1, filename="{step}")
    make = partial(run, GradientAccumulationScheduler({0: 1, 1: 3}), max_epochs=2)
    whole = make(keep, enable_checkpointing=True)
    for step in (5, 7):  # 6 steps are an epoch, 7 are one and a half
        again = make(ckpt_path=str(tmp_path / f"kept/step={step}.ckpt"))
        assert again.trainer.global_step == whole.trainer.global_step == 6 + 2
        assert again.losses == whole.losses[step if step < 6 else 9 :]


class Unfreezes(BaseFinetuning):
    """Trains the first layer from the second epoch on."""

    def freeze_before_training(self, pl_module):
        self.freeze(layers(pl_module)[0])

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(layers(pl_module)[0], optimizer, lr=1e-2)


class WithBackbone(PreferenceModule):
    @property
    def backbone(self) -> nn.Module:
        return self.policy.model


def layers(model: PreferenceModule) -> nn.ModuleList:
    return model.policy.model.layers


@pytest.mark.parametrize("given", ["name", "module"])
@pytest.mark.parametrize("make", [Unfreezes, lambda: BackboneFinetuning(unfreeze_backbone_at_epoch=1)])
def test_finetuning_callbacks_freeze_and_unfreeze(run, tmp_path, make, given):
    policy = saved_model(tmp_path / "model") if given == "name" else tiny_llama()
    keep = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, filename="{epoch}")

    def model() -> PreferenceModule:
        return WithBackbone(copy.deepcopy(policy), optimizer=partial(AdamW, lr=1e-2))

    whole = run(make(), keep, module=model(), max_epochs=3, enable_checkpointing=True)
    name = "policy.model.layers.0.mlp.up_proj.weight"
    saved = [torch.load(tmp_path / f"kept/epoch={k}.ckpt", weights_only=True)["state_dict"] for k in range(2)]
    assert [name in each for each in saved] == [False, True]
    assert not torch.equal(saved[1][name], dict(tiny_llama().named_parameters())[name.removeprefix("policy.")])

    loaded = WithBackbone.load_from_checkpoint(tmp_path / "kept/epoch=0.ckpt", policy=copy.deepcopy(policy))
    frozen = dict(loaded.named_parameters())[name]
    assert torch.equal(frozen, dict(tiny_llama().named_parameters())[name.removeprefix("policy.")])
    (values,) = trainer().validate(model(), data(tmp_path), ckpt_path=tmp_path / "kept/epoch=0.ckpt", verbose=False)
    assert trainer().validate(loaded, data(tmp_path), verbose=False)[0] == values

    for epoch in range(2):
        again = run(make(), module=model(), max_epochs=3, ckpt_path=str(tmp_path / f"kept/epoch={epoch}.ckpt"))
        assert again.losses == whole.losses[6 * (epoch + 1) :]
        assert all(torch.equal(a, b) for a, b in zip(again.module.parameters(), whole.module.parameters(), strict=True))


def test_pruning_prunes_and_its_checkpoints_load(run, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, filename="{epoch}")
    pruned = run(ModelPruning("l1_unstructured", amount=0.3), keep, enable_checkpointing=True).module
    assert sum(int((weight == 0).sum()) for weight in pruned.parameters()) > 9000
    path = str(tmp_path / "kept/epoch=1.ckpt")
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], weight) for name, weight in pruned.named_parameters())
    rows = data(tmp_path)
    losses = [
        trainer().validate(model, rows, ckpt_path=given, verbose=False)[0]["val/loss"]
        for model, given in ((pruned, None), (module(), path))
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("settings", [{}, {"use_global_unstructured": False}, {"prune_on_train_epoch_end": False}])
def test_a_pruned_run_goes_on_with_what_is_pruned(run, tmp_path, settings):
    keep = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, every_n_train_steps=1, filename="{step}")

    def prunes() -> ModelPruning:  # which belongs to one module
        return ModelPruning("l1_unstructured", amount=0.2, **settings)

    whole = run(prunes(), keep, max_epochs=3, enable_checkpointing=True)
    for step in (8, 12, 16):
        again = run(prunes(), max_epochs=3, ckpt_path=str(tmp_path / f"kept/step={step}.ckpt"))
        assert again.losses == whole.losses[step:]
        assert all(torch.equal(a, b) for a, b in zip(again.module.parameters(), whole.module.parameters(), strict=True))


def test_pruning_under_adapters_is_refused(run):
    with pytest.raises(InputError, match=r"^ModelPruning would prune the weights under the adapters"):
        run(ModelPruning("l1_unstructured", amount=0.3), module=module(lora=LoRA(r=2)))


@pytest.mark.parametrize("val_split", ["train[:8]", None])
@pytest.mark.filterwarnings("ignore")
def test_lr_find_finds_the_rate_that_is_trained_with(run, tmp_path, val_split):
    rows, model = data(tmp_path, val_split=val_split), module(tiny_llama(attention_dropout=0.5), lr=1e-5)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    tuned = trainer(max_steps=-1, max_epochs=9, default_root_dir=tmp_path)
    found = Tuner(tuned).lr_find(model, datamodule=rows, num_training=30, early_stop_threshold=None, max_lr=0.1)
    assert model.lr == found.suggestion() != 1e-5
    assert (model.policy.config.use_cache, model.policy.config.attention_dropout) == (True, 0.5)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    fitted = run(module=model, data=rows)
    assert {group["lr"] for group in fitted.trainer.optimizers[0].param_groups} == {model.lr}


@pytest.mark.filterwarnings("ignore")
def test_a_learning_rate_finder_sets_the_rate(run):
    finder = LearningRateFinder(num_training_steps=30, early_stop_threshold=None, max_lr=0.1)
    fitted = run(finder, module=module(lr=1e-5), max_epochs=9)
    assert fitted.trainer.optimizers[0].param_groups[0]["lr"] == fitted.module.lr == finder.optimal_lr.suggestion()


class Manual(PreferenceModule):
    """Takes its own steps, with an optimizer for each half of the policy."""

    def __init__(self, *args, **settings) -> None:
        super().__init__(*args, **settings)
        self.automatic_optimization = False

    def configure_optimizers(self):
        weights = list(self.policy.parameters())
        return [AdamW(weights[:5], lr=1e-3), AdamW(weights[5:], lr=1e-3)]

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()
        return loss


def test_two_optimizers_and_manual_steps_log_the_means(run):
    fitted = run(module=Manual(tiny_llama()))
    assert fitted.metrics["train/loss"] == pytest.approx(fitted.losses[-1])
    assert fitted.metrics["train/grad_norm"] > 0
    assert fitted.losses[-1] < fitted.losses[0]


class Accumulates(PreferenceModule):
    """Takes a step of its own after every other micro-batch."""

    def __init__(self, *args, **settings) -> None:
        super().__init__(*args, **settings)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss / 2)
        if batch_idx % 2:
            optimizer = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()
        return loss


def test_a_run_that_accumulates_by_hand_goes_on_with_whole_steps(run, tmp_path):
    class Saves(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            if trainer.global_step == 1:  # the last time in the middle of the second step
                trainer.save_checkpoint(tmp_path / "saved.ckpt")

    def part(*callbacks, **settings):
        model = Accumulates(tiny_llama(), optimizer=partial(AdamW, lr=1e-2))
        return run(EMAReference(decay=0.5), *callbacks, module=model, max_epochs=1, **settings)

    whole, again = part(Saves()), part(ckpt_path=tmp_path / "saved.ckpt")
    assert again.losses == whole.losses[2:]
    assert all(torch.equal(a, b) for a, b in zip(again.module.parameters(), whole.module.parameters(), strict=True))
    references = [each.module.reference.followed() for each in (whole, again)]
    assert all(torch.equal(references[0][name].reference, pair.reference) for name, pair in references[1].items())


@pytest.mark.parametrize("zeroed", ["between", "after"])
def test_the_norm_of_several_optimizers_is_that_of_all_that_they_take(run, zeroed):
    norms = []

    class Steps(Manual):
        def training_step(self, batch, batch_idx):
            loss = PreferenceModule.training_step(self, batch, batch_idx)
            self.manual_backward(loss)
            norms.append(float(nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None])))
            for optimizer in self.optimizers():
                optimizer.step()
                if zeroed == "between":
                    optimizer.zero_grad()
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            return loss

    fitted = run(module=Steps(tiny_llama()), log_every_n_steps=4)
    assert fitted.metrics["train/grad_norm"] == pytest.approx(norms[-1])


def test_a_search_at_an_epochs_start_is_refused(run):
    class Searches(LearningRateFinder):
        def on_fit_start(self, *_) -> None:
            pass

        def on_train_epoch_start(self, trainer, pl_module) -> None:
            self.lr_find(trainer, pl_module)

    with pytest.raises(RunError, match=r"a checkpoint is loaded within a fit, as a search for a rate .* does"):
        run(Searches(num_training_steps=3))
