"""Modules of one's own, and one module in many runs."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Optional

import lightning.pytorch as pl
import pytest
import torch
import yaml
from lightning.fabric import Fabric
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.optim import AdamW
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from dpo_lightning import FrozenCopy, LoRA, PreferenceModule, Reference, SimPO, collate_padded
from dpo_lightning.errors import InputError, RunError
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import PAIRS, tiny_llama


def settings(policy):
    rates = (policy.config.attention_dropout, policy.model.layers[0].self_attn.attention_dropout)
    return policy.config.use_cache, *rates, policy.training


class Fails(Callback):
    """Ends a fit with an error, and keeps the policy's settings until then."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seen = settings(pl_module.policy)
        raise ZeroDivisionError


def test_a_given_policy_has_its_settings_back_after_the_fit(run):
    policy = tiny_llama(attention_dropout=0.5).eval()
    fitted = run(module=module(policy))
    assert settings(policy) == (True, 0.5, 0.5, False)
    fitted.trainer.validate(fitted.module, fitted.trainer.datamodule, verbose=False)
    assert settings(policy) == (True, 0.5, 0.5, False)


def test_a_given_policy_has_its_settings_back_after_an_error_and_the_next_fit_prepares_it(run):
    policy = tiny_llama(attention_dropout=0.5).eval()
    model = module(policy, step_zero_check=False)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run(fails := Fails(), module=model)
        assert fails.seen == (False, 0.0, 0.0, True)
        assert settings(policy) == (True, 0.5, 0.5, False)


def test_fits_of_one_module_go_on_from_one_another(run, tmp_path):
    model = module(step_zero_check=False)
    first = run(module=model)
    second = run(module=model)
    assert second.losses[0] < first.losses[0]
    again = module(step_zero_check=False)
    for _ in range(2):
        trainer(max_steps=-1, max_epochs=2).fit(again, data(tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


class Declares(PreferenceModule):
    """Has a buffer, a frozen module and a metric of its own."""

    def __init__(self, *args, **settings) -> None:
        super().__init__(*args, **settings)
        self.register_buffer("seen", torch.zeros(()))
        self.judge = nn.Linear(2, 2).requires_grad_(False)
        self.mean = MeanMetric()
        self.mean.persistent(True)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.seen += 1
        self.judge.weight.data += 1
        self.mean.update(loss.detach())
        return loss


@pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["full", "lora"])
def test_what_a_subclass_declares_is_saved_and_restored(run, tmp_path, lora):
    fitted = run(module=Declares(tiny_llama(), lora=lora))
    fitted.trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Declares.load_from_checkpoint(tmp_path / "a.ckpt", policy=tiny_llama())
    assert loaded.seen == 12
    assert torch.equal(loaded.judge.weight, fitted.module.judge.weight)
    assert loaded.mean.mean_value == fitted.module.mean.mean_value > 0


class ReadsUnread(PreferenceModule):
    """Has a loss that reads the reference beside an objective that does not."""

    def pair_losses(self, batch, scores):
        return super().pair_losses(batch, scores) + scores.chosen_logratio


def test_a_loss_that_reads_a_reference_which_is_not_scored_is_refused(run):
    with pytest.raises(RunError, match=r"reads the log-probs of the reference, and SimPO\.reads does not name Reads"):
        run(module=ReadsUnread(tiny_llama(), SimPO()))


class Outer(pl.LightningModule):
    """Holds a preference module, which it trains with."""

    def __init__(self, inner: PreferenceModule) -> None:
        super().__init__()
        self.inner = inner

    def configure_model(self) -> None:
        self.inner.configure_model()

    def training_step(self, batch, batch_idx):
        return self.inner.objective(self.inner.score(batch)).mean()

    def configure_optimizers(self):
        return AdamW(self.parameters(), lr=1e-2)


@pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["full", "lora"])
def test_a_module_inside_another_one_trains_and_resumes(tmp_path, lora):
    rows = DataLoader(PAIRS, collate_fn=collate_padded, batch_size=2)
    first = Outer(module(lora=lora))
    one = trainer(max_steps=2)
    one.fit(first, rows)
    one.save_checkpoint(tmp_path / "a.ckpt")
    again = Outer(module(lora=lora))
    trainer(max_steps=2).fit(again, rows, ckpt_path=str(tmp_path / "a.ckpt"))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert all(("lora_" in name) == (lora is not None) for name in saved)


@dataclass(frozen=True)
class Scaled(Reference):
    """A copy of the policy with scaled weights."""

    by: float = 1.0

    def bind(self, policy):
        other = copy.deepcopy(policy)
        for weight in other.parameters():
            weight.data *= self.by
        return FrozenCopy().bind(other)


def test_a_reference_of_ones_own_comes_back_as_itself(run, tmp_path):
    name = saved_model(tmp_path / "model")
    fitted = run(module=module(name, reference=Scaled(0.5), step_zero_check=False))
    fitted.trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = PreferenceModule.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.reference_settings == Scaled(0.5)
    rows = data(tmp_path)
    losses = [trainer().validate(each, rows, verbose=False)[0]["val/loss"] for each in (fitted.module, loaded)]
    assert losses[0] == losses[1]


def test_a_copy_of_a_fitted_module_is_fitted_on_its_own(run):
    first = run(module=module(step_zero_check=False)).module
    weights = [weight.clone() for weight in first.parameters()]
    other = run(module=copy.deepcopy(first)).module
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), weights, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_an_unbuilt_module_is_pickled(run):
    model = PreferenceModule(tiny_llama(), lora=LoRA(r=2))  # with the default optimizer
    again = pickle.loads(pickle.dumps(model))
    losses = []
    for each in (model, again):
        torch.manual_seed(0)  # of the adapters, which are made in the run
        losses.append(run(module=each).losses)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("wrap", ["policy", "module"])
def test_fabric_takes_the_steps(wrap):
    model = module()
    model.configure_model()
    fabric = Fabric(accelerator="cpu", devices=1)
    optimizer = AdamW(model.parameters(), lr=1e-2)
    if wrap == "policy":
        _, optimizer = fabric.setup(model.policy, optimizer)
        score = model.score
    else:
        wrapped, optimizer = fabric.setup(model, optimizer)
        wrapped.mark_forward_method("score")
        score = wrapped.score
    losses = []
    for batch in [*fabric.setup_dataloaders(DataLoader(PAIRS, collate_fn=collate_padded, batch_size=2))] * 3:
        loss = model.objective(score(batch)).mean()
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.6931, abs=1e-4)
    assert losses[-1] < losses[0]


class Speed(Enum):
    FAST = "fast"


class Own(PreferenceModule):
    """Has arguments of its own, which it saves or leaves to its base class."""

    saves = False

    def __init__(self, policy, speed: Optional[Speed] = None, sizes=None, stop=None, **settings: Any) -> None:
        super().__init__(policy, **settings)
        if self.saves:
            self.save_hyperparameters()
        self.own = (speed, sizes, stop)


class Saves(Own):
    saves = True


OWN = {"speed": Speed.FAST, "sizes": (1, {2}), "stop": "null"}


@pytest.mark.parametrize("kind", [Own, Saves])
def test_arguments_of_a_subclass_come_back_as_what_they_were(run, tmp_path, kind):
    name = saved_model(tmp_path / "model")
    logger = CSVLogger(tmp_path)
    fitted = run(module=kind(name, **OWN, optimizer=AdamW), max_steps=1, max_epochs=1, logger=logger)
    fitted.trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = kind.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.own == (Speed.FAST, (1, {2}), "null")
    assert kind.load_from_checkpoint(tmp_path / "a.ckpt", sizes=Counter("aab")).own[1] == Counter("aab")
    optimizer = loaded._optimizer(loaded.parameters()).defaults
    assert (optimizer["lr"], optimizer["weight_decay"]) == (1e-3, 1e-2)
    hparams = Path(logger.log_dir) / "hparams.yaml"
    assert yaml.safe_load(hparams.read_text())["speed"] == "fast"
    assert kind.load_from_checkpoint(tmp_path / "a.ckpt", hparams_file=hparams).own == loaded.own


def test_an_argument_that_no_checkpoint_holds_is_asked_for(run, tmp_path):
    fitted = run(module=Own(saved_model(tmp_path / "model"), stop=print), max_steps=1, max_epochs=1)
    fitted.trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=r"does not hold its stop, a builtin_function_or_method: .*\(..., stop=it\)$"):
        Own.load_from_checkpoint(tmp_path / "a.ckpt")
    assert Own.load_from_checkpoint(tmp_path / "a.ckpt", stop=print).own == (None, None, print)


class Fixed(Own):
    """Gives its base class an argument."""

    def __init__(self, policy, **rest: Any) -> None:
        super().__init__(policy, sizes=3, **rest)


class TakesAny(Own):
    """Takes an argument that it does not name."""

    def __init__(self, policy, **rest: Any) -> None:
        super().__init__(policy, **{name: value for name, value in rest.items() if name != "alpha"})
        self.own = (*self.own[:2], rest["alpha"])


class Renames(PreferenceModule):
    """Saves its weights under other names."""

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {f"mine.{name}": value for name, value in super().state_dict(*args, **kwargs).items()}

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        return super().load_state_dict({name[5:]: value for name, value in state_dict.items()}, *args, **kwargs)


@pytest.mark.parametrize(
    ("kind", "given", "own"),
    [(Fixed, {"stop": "1"}, (None, 3, "1")), (TakesAny, {"alpha": (1,)}, (None, None, (1,))), (Renames, {}, None)],
    ids=["fixes an argument", "takes any", "names of weights"],
)
def test_a_subclass_that_hands_on_in_its_own_way_is_loaded(run, tmp_path, kind, given, own):
    fitted = run(module=kind(saved_model(tmp_path / "model"), **given), max_steps=1, max_epochs=1)
    fitted.trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = kind.load_from_checkpoint(tmp_path / "a.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), fitted.module.parameters(), strict=True))
    assert vars(loaded).get("own") == own
