"""The module as wiring: what a run logs, saves, restores and checks."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import pytest
import torch

from dpo_lightning import DPO, SFT, AdapterOff, FrozenCopy, LoRA, Objective, PreferenceModule
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.losses import Reads
from dpo_lightning.training.schedules import Linear
from tests.helpers.runs import Losses, data, fit, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama
from tools.docs.architecture_models import tiny_model


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["full", "lora"])
def test_the_first_loss_is_ln_2_and_training_lowers_it(tmp_path, lora):
    _, losses = fit(tmp_path, module(lora=lora, lr=1e-2), max_steps=12)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < 0.6


def test_one_epoch_logs_the_names_of_the_design(tmp_path):
    run, _ = fit(tmp_path, module(), max_epochs=1, max_steps=-1)
    names = {
        "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
        "logps/chosen", "logps/rejected", "logratios/chosen", "logratios/rejected",
        "logps/accuracies", "logps/accuracies_per_token", "lengths/chosen", "lengths/rejected", "kl",
    }  # fmt: skip
    logged = set(run.callback_metrics)
    assert {f"{stage}/{name}" for stage in ("train", "val") for name in names} | {"train/grad_norm"} <= logged
    assert {"loss", "margin", "accuracy"} <= set(run.progress_bar_metrics)


def test_training_means_cover_the_pairs_since_the_last_log(tmp_path):
    class Logged(Losses):
        def __init__(self) -> None:
            super().__init__()
            self.means: list[float] = []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            self.means.append(trainer.callback_metrics.get("train/loss", torch.tensor(math.nan)).item())

    logged = Logged()
    run = trainer(callbacks=[logged], max_steps=6, log_every_n_steps=3)
    run.fit(module(lr=1e-2), data(tmp_path))
    assert all(math.isnan(mean) for mean in logged.means[:3])
    assert logged.means[3] == pytest.approx(sum(logged.losses[:3]) / 3, rel=1e-6)
    assert run.callback_metrics["train/loss"].item() == pytest.approx(sum(logged.losses[3:]) / 3, rel=1e-6)


def test_a_second_fit_logs_from_its_own_first_step(tmp_path):
    model = module(objective=SFT(), lr=1e-2)  # without a reference, which the first fit leaves behind
    fit(tmp_path, model, max_steps=4)
    run, losses = fit(tmp_path, model, max_steps=1)
    assert run.callback_metrics["train/loss"].item() == pytest.approx(losses[0], rel=1e-6)


def test_the_logged_gradient_norm_is_that_before_clipping(tmp_path):
    class Norm(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
            self.norm = math.sqrt(sum(p.grad.square().sum().item() for p in pl_module.parameters()))

    norm = Norm()
    run, _ = fit(tmp_path, module(), callbacks=[norm], max_steps=1, gradient_clip_val=1e-3)
    assert norm.norm > 1e-2
    assert run.callback_metrics["train/grad_norm"].item() == pytest.approx(norm.norm, rel=1e-5)


def test_validation_means_weight_pairs_not_batches(tmp_path):
    model = module(lr=1e-2)
    fit(tmp_path, model, max_steps=4)
    means = []
    for size in (1, 3, 8):  # 8 pairs as 8 batches, as 3 + 3 + 2, as 1
        (metrics,) = trainer().validate(model, data(tmp_path, eval_batch_pairs=size), verbose=False)
        means.append(metrics)
    for other in means[1:]:
        assert other == pytest.approx(means[0], rel=1e-5, abs=1e-6)


def test_predict_gives_rewards_of_each_pair(tmp_path):
    model = module()
    batches = trainer().predict(model, data(tmp_path))
    assert torch.cat([batch["pair_id"] for batch in batches]).tolist() == list(range(8))
    assert all(torch.equal(batch["margin"], batch["chosen"] - batch["rejected"]) for batch in batches)
    assert torch.cat([batch["margin"] for batch in batches]).abs().max() == 0


def test_decay_warmup_and_schedule_reach_the_optimizer(tmp_path):
    model = module(schedule=Linear(warmup=2))
    run, _ = fit(tmp_path, model, max_steps=4)
    decayed, undecayed = run.optimizers[0].param_groups
    assert decayed["weight_decay"] == 0.1
    assert undecayed["weight_decay"] == 0.0
    assert {p.ndim for p in undecayed["params"]} == {1}
    assert run.lr_scheduler_configs[0].interval == "step"
    assert run.lr_scheduler_configs[0].scheduler.get_last_lr()[0] == pytest.approx(0.0)


def test_accumulation_steps_the_schedule_once_per_optimizer_step(tmp_path):
    model = module(schedule=Linear(warmup=0))
    run, _ = fit(tmp_path, model, max_steps=2, accumulate_grad_batches=3)
    assert run.global_step == 2
    assert run.lr_scheduler_configs[0].scheduler.last_epoch == 2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_precision_decides_on_the_weights_and_step_zero_holds(tmp_path, precision):
    model = module(saved_model(tmp_path / "model"), lora=LoRA(r=4))
    _, losses = fit(tmp_path, model, precision=precision)
    dtypes = {p.dtype for p in model.policy.get_base_model().model.layers[0].mlp.parameters() if not p.requires_grad}
    assert dtypes == {torch.bfloat16 if precision == "bf16-true" else torch.float32}
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    rope = [buffer for name, buffer in model.named_buffers() if "inv_freq" in name]
    assert {buffer.dtype for buffer in rope} == {torch.float32}


def test_a_reference_given_as_a_module_is_the_one_that_is_compared_with(tmp_path):
    other, losses = tiny_llama(seed=5), {}
    other.save_pretrained(tmp_path / "other")
    for kind, reference in (("module", other), ("checkpoint", FrozenCopy(str(tmp_path / "other")))):
        model = module(reference=reference, step_zero_check=False, lr=1e-2)
        _, losses[kind] = fit(tmp_path, model)
    assert losses["module"] == losses["checkpoint"]
    assert abs(losses["module"][0] - math.log(2)) > 1e-3
    with pytest.raises(InputError, match="SFT has no reference"):
        module(objective=SFT(), reference=other)


class Layouts(Losses):
    """Also keeps whether the batches were trees."""

    def __init__(self) -> None:
        super().__init__()
        self.trees: list[bool] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.trees.append(batch.tree is not None)


def test_both_layouts_train_alike(tmp_path):
    seen = {}
    for layout in ("auto", "padded"):
        seen[layout] = Layouts()
        run = trainer(callbacks=[seen[layout]], max_steps=6)
        run.fit(module(lr=1e-2), data(tmp_path, layout=layout, length_grouped=False))
    assert all(seen["auto"].trees)
    assert not any(seen["padded"].trees)
    assert seen["auto"].losses == pytest.approx(seen["padded"].losses, rel=1e-4)
    assert len({round(loss, 3) for loss in seen["auto"].losses}) > 4


def test_a_model_that_the_tree_does_not_fit_trains_padded(tmp_path):
    layouts = Layouts()
    with pytest.warns(UserWarning, match="layout: padded, since the tree layout does not fit the policy: ") as caught:
        trainer(callbacks=[layouts], max_steps=2).fit(module(tiny_model("bloom")), data(tmp_path))
    assert layouts.trees == [False, False]
    assert len([warning for warning in caught if "layout" in str(warning.message)]) == 1
    with pytest.raises(
        InputError, match=r"data.layout tree: the tree layout does not fit .* set data.layout to padded"
    ):
        trainer(max_steps=2).fit(module(tiny_model("bloom")), data(tmp_path, layout="tree"))


def test_a_reference_for_an_objective_without_one_is_refused():
    with pytest.raises(InputError, match="SFT has no reference"):
        module(objective=SFT(), reference=FrozenCopy())


def test_sft_trains_without_a_reference(tmp_path):
    _, losses = fit(tmp_path, module(objective=SFT(), lr=1e-2), max_steps=12)
    assert losses[-1] < 0.7 * losses[0]


def test_pair_losses_can_be_extended(tmp_path):
    class Doubled(PreferenceModule):
        def pair_losses(self, batch, scores):
            return 2 * super().pair_losses(batch, scores)

    recorder = Losses()
    trainer(callbacks=[recorder], max_steps=1).fit(Doubled(tiny_llama()), data(tmp_path))
    assert recorder.losses[0] == pytest.approx(2 * math.log(2), abs=1e-6)


@pytest.mark.filterwarnings("ignore:layout")  # which a model of NaN cannot be tested on
def test_a_nan_loss_stops_and_names_the_pairs(tmp_path):
    model = module()
    with torch.no_grad():
        model.policy_source.policy.model.norm.weight.fill_(math.nan)
    with pytest.raises(RunError, match=r"a loss is not finite at optimizer step 0, on the pairs \[(\d+, ){3}\d+\]"):
        fit(tmp_path, model)


def test_nan_reaches_no_weight(tmp_path):
    class Break(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            if batch_idx == 1:
                self.before = {n: p.detach().clone() for n, p in pl_module.policy.named_parameters()}
                pl_module.pair_losses = lambda batch, scores: scores.policy_chosen_logps * math.nan

    model, broken = module(), Break()
    with pytest.raises(RunError, match="optimizer step 1"):
        fit(tmp_path, model, callbacks=[broken])
    assert all(torch.equal(p, broken.before[n]) for n, p in model.policy.named_parameters())


def test_adapter_off_without_an_adapter_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="set `lora`, or use FrozenCopy"):
        fit(tmp_path, module(reference=AdapterOff()))


class Own(DPO):
    """A subclass that is a dataclass by inheritance is held; a bare one is not."""


def test_an_objective_that_a_checkpoint_cannot_hold_is_named():
    class Bare(Objective):
        reads = Reads.NOTHING

        def __call__(self, scores):
            return -scores.policy_chosen_logps

        def rewards(self, scores):
            return scores.policy_chosen_logps, scores.policy_rejected_logps

    assert "objective" in module(objective=Own()).hparams
    with pytest.warns(UserWarning, match="Bare is no dataclass: pass it to load_from_checkpoint again"):
        module(objective=Bare())


@pytest.mark.parametrize("settings", [{"log_every_n_steps": 0}, {"barebones": True}])
def test_a_trainer_that_logs_nothing_trains(tmp_path, settings):
    bare = {"accelerator": "cpu", "devices": 1, "max_steps": 1, "enable_progress_bar": False}
    quiet = {} if "barebones" in settings else {"logger": False, "enable_checkpointing": False}
    run = pl.Trainer(**bare, **quiet, **settings)
    run.fit(module(), data(tmp_path))
    assert run.global_step == 1


def test_a_policy_without_parameters_has_a_representation() -> None:
    assert repr(module(torch.nn.Identity())).startswith("PreferenceModule(Identity: 0 parameters, 0 trained; DPO(")
