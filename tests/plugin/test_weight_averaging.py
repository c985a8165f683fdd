"""Averages of the weights on a preference run: what they are of, what a checkpoint of them holds, how it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.strategies import ModelParallelStrategy

from dpo_lightning import LoRA, PreferenceModule
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model that overrides")
ADAPTERS = pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["full", "lora"])
GIVEN = pytest.mark.parametrize("given", ["name", "module"])


class Weights(Callback):
    """Keeps the trained weights after every step, and those that each epoch begins with."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.epochs: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.epochs.append(trained(pl_module))

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        self.steps.append(trained(pl_module))


def trained(model: PreferenceModule) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def policy_of(given: str, path: Path):
    return saved_model(path / "model") if given == "name" else tiny_llama()


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.allclose(found[n], w, atol=1e-6) for n, w in expected.items())


@GIVEN
@ADAPTERS
def test_stochastic_weight_averaging_averages(run, tmp_path, given, lora):
    weights = Weights()
    swa = StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1, annealing_epochs=1)
    fitted = run(weights, swa, module=module(policy_of(given, tmp_path), lora=lora, lr=1e-2), max_epochs=3)
    mean = {name: sum(each[name] for each in weights.epochs) / 3 for name in weights.epochs[0]}
    assert close(trained(fitted.module), mean)
    assert not close(mean, weights.steps[-1])


@ADAPTERS
def test_an_ema_is_that_of_the_trained_weights_and_leaves_the_frozen_ones_alone(run, tmp_path, lora):
    weights, average = Weights(), EMAWeightAveraging(decay=0.9)
    fitted = run(weights, average, module=module(lora=lora, lr=1e-2))
    mean = weights.steps[0]
    for each in weights.steps[1:]:
        mean = {name: 0.9 * value + 0.1 * each[name] for name, value in mean.items()}
    assert close(trained(fitted.module), mean)
    if lora is not None:
        start = dict(tiny_llama().named_parameters())
        base = dict(fitted.module.policy.get_base_model().named_parameters())
        kept = {name.replace(".base_layer", ""): weight for name, weight in base.items() if "lora_" not in name}
        assert all(torch.equal(kept[name], weight) for name, weight in start.items())


@pytest.mark.parametrize("make", [lambda: EMAWeightAveraging(decay=0.5), WeightAveraging], ids=["ema", "mean"])
@ADAPTERS
def test_a_checkpoint_holds_the_average_validates_loads_and_resumes(run, tmp_path, make, lora):
    def model() -> PreferenceModule:
        return module(lora=lora, lr=1e-2)

    keep = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, filename="{epoch}")
    whole = run(make(), keep, module=model(), enable_checkpointing=True)
    path = str(tmp_path / "kept/epoch=1.ckpt")
    saved = torch.load(path, weights_only=True)
    assert saved["state_dict"].keys() == saved["current_model_state"].keys() == trained(whole.module).keys()
    assert close(saved["state_dict"], trained(whole.module))
    assert not close(saved["current_model_state"], trained(whole.module))

    rows = data(tmp_path)
    after = trainer().validate(whole.module, rows, verbose=False)[0]["val/loss"]
    assert trainer().validate(model(), rows, ckpt_path=path, verbose=False)[0]["val/loss"] == pytest.approx(after)
    loaded = PreferenceModule.load_from_checkpoint(path, policy=tiny_llama())
    assert trainer().validate(loaded, rows, verbose=False)[0]["val/loss"] == pytest.approx(after)

    resumed = run(make(), module=model(), ckpt_path=str(tmp_path / "kept/epoch=0.ckpt"))
    assert resumed.losses == whole.losses[len(whole.losses) // 2 :]
    theirs = trained(whole.module)
    assert all(torch.equal(weight, theirs[name]) for name, weight in trained(resumed.module).items())


@pytest.mark.parametrize("make", [EMAWeightAveraging, lambda: StochasticWeightAveraging(1e-3)])
def test_an_average_of_weights_that_are_to_be_sharded_is_refused(make):
    with pytest.raises(InputError, match="WeightAveraging takes the parameters before ModelParallelStrategy shards"):
        trainer(strategy=ModelParallelStrategy(), callbacks=[make()]).fit(module())


def test_a_stochastic_average_that_has_begun_does_not_go_on_within_an_epoch(run, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=2, save_top_k=-1)
    run(StochasticWeightAveraging(1e-3, swa_epoch_start=1), keep, max_epochs=2, enable_checkpointing=True)
    with pytest.raises(InputError, match=r"^StochasticWeightAveraging has begun, and cannot go on in the middle"):
        run(StochasticWeightAveraging(1e-3, swa_epoch_start=1), ckpt_path=tmp_path / "kept/step=2.ckpt")
