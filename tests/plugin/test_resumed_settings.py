"""`ckpt_path`: what is asked for is what runs, or it is refused."""

from __future__ import annotations

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from torch.optim import lr_scheduler

from dpo_lightning import DPO, EMAReference, Linear, LoRA, Objective, PreferenceModule
from dpo_lightning.errors import InputError
from tests.helpers import runs


@pytest.fixture
def checkpoint(run, tmp_path):
    """A file of an epoch's end, on the model in `model`; `checkpoint(**settings)`."""

    def saved(weights_only=False, **settings):
        module = runs.module(runs.saved_model(tmp_path / "model"), **settings)
        run(module=module, max_epochs=1).trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only)
        return str(tmp_path / "a.ckpt")

    return saved


@pytest.fixture
def again(tmp_path):
    """A module on the model in `model`; `again(**settings)`."""
    return lambda **settings: runs.module(str(tmp_path / "model"), **settings)


def test_a_resumed_fit_refuses_other_settings(run, checkpoint, again):
    path = checkpoint()
    with pytest.raises(InputError, match=r"optimizer.lr 0.001, and this run asks for 0.1: .*model.resume=changed"):
        run(module=again(lr=0.1), ckpt_path=path)
    with pytest.raises(InputError, match=r"objective.beta 0.1, and this run asks for 5.0"):
        run(module=again(objective=DPO(beta=5.0)), ckpt_path=path)


def test_a_resumed_fit_applies_other_settings_where_that_is_said(run, checkpoint, again):
    fitted = run(module=again(lr=0.1, objective=DPO(beta=5.0), resume="changed"), ckpt_path=checkpoint())
    assert [group["lr"] for group in fitted.trainer.optimizers[0].param_groups] == [0.1, 0.1]
    assert fitted.module.objective == DPO(beta=5.0)


def test_a_longer_run_has_its_own_schedule(run, checkpoint, again, caplog):
    path = checkpoint(schedule=Linear(warmup=0))
    with caplog.at_level("INFO"):
        run(module=again(schedule=Linear(warmup=0)), ckpt_path=path, max_epochs=2)
    assert "the learning rate goes on at 0.0005, where that run had come to 0" in caplog.text


def test_a_validation_has_the_objective_that_it_asks_for(checkpoint, again, tmp_path):
    path, losses = checkpoint(), []
    for beta in (0.1, 5.0):
        (found,) = runs.trainer().validate(again(objective=DPO(beta=beta)), runs.data(tmp_path), path, verbose=False)
        losses.append(found["val/loss"])
    assert losses[0] != losses[1]


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_another_base_is_refused_at_every_stage(checkpoint, again, tmp_path, stage):
    path = checkpoint(lora=LoRA(r=2))
    runs.saved_model(tmp_path / "model", seed=9)
    pairs = runs.data(tmp_path, test_split="train[:8]") if stage == "test" else runs.data(tmp_path)
    with pytest.raises(InputError, match="was trained on other base weights than this run's policy"):
        getattr(runs.trainer(), stage)(again(lora=LoRA(r=2)), datamodule=pairs, ckpt_path=path)


def test_weights_only_are_no_run(run, checkpoint, again, tmp_path):
    path = checkpoint(weights_only=True)
    with pytest.raises(InputError, match="holds weights only, and no lr_schedulers and no optimizer_states"):
        run(module=again(), ckpt_path=path)
    runs.trainer().validate(again(), runs.data(tmp_path), path, verbose=False)
    loaded = type(again()).load_from_checkpoint(path)
    assert torch.equal(next(loaded.policy.parameters()), next(iter(torch.load(path)["state_dict"].values())))


@pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes")
def test_a_quantized_base_is_known_again(tmp_path):
    pytest.importorskip("bitsandbytes")
    wide = {"hidden_size": 64, "intermediate_size": 64}  # 4-bit blocks have 64 weights
    runs.saved_model(tmp_path / "model", **wide)
    runs.saved_model(tmp_path / "other", seed=9, **wide)

    def fitted(name="model", steps=2, ckpt_path=None, **quantization):
        settings = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", **quantization}
        module = runs.module(str(tmp_path / name), lora=LoRA(r=2), quantization_config=settings)
        trainer = runs.trainer(max_steps=steps)
        trainer.fit(module, runs.data(tmp_path), ckpt_path=ckpt_path)
        return trainer

    path = tmp_path / "a.ckpt"
    fitted().save_checkpoint(path)
    assert fitted(steps=3, ckpt_path=path).global_step == 3
    with pytest.raises(InputError, match="was trained on other base weights than this run's policy"):
        fitted("other", ckpt_path=path)
    with pytest.raises(InputError, match=r"quantization_config.bnb_4bit_quant_type nf4, and this run asks for fp4"):
        fitted(ckpt_path=path, bnb_4bit_quant_type="fp4")


RMS = partial(torch.optim.RMSprop, lr=1e-3)
ADAM = partial(torch.optim.AdamW, lr=1e-3)


@pytest.mark.parametrize(
    ("before", "now", "lacking"),
    [
        (ADAM, partial(ADAM, amsgrad=True), "max_exp_avg_sq"),
        (RMS, partial(RMS, momentum=0.9, centered=True), "grad_avg, momentum_buffer"),
        (ADAM, partial(ADAM, weight_decay=0.5), None),
        (RMS, partial(RMS, alpha=0.5), None),
    ],
)
def test_a_setting_whose_state_is_lacking_begins_it_anew(run, checkpoint, again, caplog, before, now, lacking):
    path = checkpoint(optimizer=before)
    with caplog.at_level("INFO"):
        fitted = run(module=again(optimizer=now, resume="changed"), ckpt_path=path)
    assert fitted.trainer.global_step == 12
    said = "the optimizer begins without a state, since the checkpoint's lacks"
    assert (said in caplog.text) == (lacking is not None)
    assert lacking is None or f"{said} {lacking}" in caplog.text
    steps = {float(state["step"]) for state in fitted.trainer.optimizers[0].state.values()}
    assert steps == {6.0 if lacking else 12.0}


@pytest.mark.parametrize(
    ("kind", "name", "values", "state"),
    [
        (torch.optim.Adagrad, "initial_accumulator_value", (0.0, 9.0), "sum"),
        (torch.optim.Rprop, "lr", (1e-6, 1e-4), ""),
    ],
)
def test_a_setting_of_the_first_step_begins_the_optimizer_anew(
    run, checkpoint, again, caplog, kind, name, values, state
):
    before, now = (partial(kind, **{"lr": 1e-3, name: value}) for value in values)
    path = checkpoint(optimizer=before)
    with pytest.raises(InputError, match=rf"had optimizer.{name} {values[0]}, and this run asks for {values[1]}"):
        run(module=again(optimizer=now), ckpt_path=path)
    with caplog.at_level("INFO"):
        fitted = run(module=again(optimizer=now, resume="changed"), ckpt_path=path, limit_val_batches=0)
    assert f"model.resume=changed: optimizer.{name} is {values[1]}, was" in caplog.text
    assert "begins without a state" in caplog.text
    for held in fitted.trainer.optimizers[0].state.values():
        assert float(held["step"]) == 6.0
        assert not state or held[state].min() >= values[1]


class WithSchedule(PreferenceModule):
    """A schedule of torch's, made in the class."""

    def __init__(self, policy, make):
        super().__init__(policy)
        self._make = make

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1.0)
        scheduler = {"scheduler": self._make(optimizer), "interval": "step", "monitor": "train/loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


@pytest.mark.parametrize(
    ("before", "now", "rate"),
    [
        (partial(lr_scheduler.StepLR, step_size=4, gamma=0.1), partial(lr_scheduler.StepLR, step_size=4), 0.1),
        (partial(lr_scheduler.StepLR, step_size=4), partial(lr_scheduler.StepLR, step_size=4, gamma=0.5), 0.5),
        (partial(lr_scheduler.StepLR, step_size=4), partial(lr_scheduler.ExponentialLR, gamma=0.9), 0.9**6),
        (partial(lr_scheduler.CosineAnnealingLR, T_max=6), partial(lr_scheduler.CosineAnnealingLR, T_max=12), 0.5),
        (partial(lr_scheduler.ReduceLROnPlateau), partial(lr_scheduler.ReduceLROnPlateau, factor=0.7), 1.0),
    ],
    ids=["same", "gamma", "another", "longer", "plateau"],
)
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
def test_a_schedule_of_torchs_has_the_settings_of_now(run, again, tmp_path, caplog, before, now, rate):
    runs.saved_model(tmp_path / "model")
    policy, rates = str(tmp_path / "model"), []
    run(module=WithSchedule(policy, before), max_epochs=1).trainer.save_checkpoint(tmp_path / "a.ckpt")

    class Rates(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    with caplog.at_level("INFO"):
        fitted = run(Rates(), module=WithSchedule(policy, now), ckpt_path=tmp_path / "a.ckpt", limit_val_batches=0)
    assert rates[0] == pytest.approx(rate)
    scheduler = fitted.trainer.lr_scheduler_configs[0].scheduler
    assert {name: getattr(scheduler, name) for name in now.keywords} == now.keywords
    assert ("goes on at" in caplog.text) == (rates[0] != 1.0 and now.keywords != {"step_size": 4})


class Own(Objective):
    """A loss that is no dataclass, so that no checkpoint holds its settings."""

    reads = DPO.reads

    def __init__(self, beta):
        self.loss = DPO(beta=beta)

    def __call__(self, scores):
        return self.loss(scores)

    def rewards(self, scores):
        return self.loss.rewards(scores)


@pytest.mark.filterwarnings("ignore:Own is no dataclass:UserWarning")
def test_what_cannot_be_compared_is_said(run, checkpoint, again, caplog):
    path = checkpoint(objective=Own(0.1))
    with caplog.at_level("INFO"):
        run(module=again(objective=Own(0.1)), ckpt_path=path)
    assert "could not hold the settings of its objective (Own): that they are those of this run cannot" in caplog.text


@pytest.mark.parametrize("resume", ["exact", "changed"])
def test_settings_of_a_reference_that_moves(run, again, tmp_path, caplog, resume):
    runs.saved_model(tmp_path / "model")
    run(EMAReference(0.9), module=again(), max_epochs=1).trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = {"module": again(resume=resume), "ckpt_path": tmp_path / "a.ckpt"}
    if resume == "exact":
        with pytest.raises(InputError, match=r"had EMAReference.decay 0.9, and this run asks for 0.5"):
            run(EMAReference(0.5), **other)
        return
    with caplog.at_level("INFO"):
        run(EMAReference(0.5), **other)
    assert "model.resume=changed: EMAReference.decay is 0.5, was 0.9" in caplog.text


def test_another_seed_is_refused_or_applied(run, checkpoint, again, monkeypatch, caplog):
    drawn = []

    class Draws(pl.Callback):
        def on_train_batch_start(self, *_):
            drawn.append(torch.rand(()).item())

    def goes_on(seed, **settings):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))  # where seed_everything leaves it
        torch.manual_seed(seed)
        run(Draws(), module=again(**settings), ckpt_path=path, max_steps=7, limit_val_batches=0)

    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    path = checkpoint()
    with pytest.raises(InputError, match=r"had seed_everything 1, and this run asks for 2: .*model.resume=changed"):
        goes_on(2)
    goes_on(1)
    with caplog.at_level("INFO"):
        goes_on(2, resume="changed")
    assert "model.resume=changed: seed_everything is 2, was 1" in caplog.text
    assert len({*drawn}) == len(drawn) == 2
