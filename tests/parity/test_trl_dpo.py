"""TRL 1.16.0 and we agree: log-probs, losses, gradients, and a training run, on the same pairs and weights."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from torch.optim import AdamW

from dpo_lightning import DPO, IPO, Hinge, LoRA, Objective, PreferenceBatch, PreferenceDataModule, PreferenceModule
from tests.helpers.runs import Seen, trainer
from tests.parity.trl_side import RecordingTrainer, gradients, make_trainer, score
from tests.parity.worlds import World, stories_world, tiny_world

BETA = 0.1
BATCH = 4
STEPS = 20
RELATIVE = 1e-5

OBJECTIVE = DPO(beta=BETA)
LORA = LoRA(r=4, alpha=8)


@pytest.fixture(params=["tiny", "stories260K"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "tiny":
        return tiny_world()
    return stories_world(request.getfixturevalue("shared"))


@pytest.fixture(params=[False, True], ids=["full", "lora"])
def lora(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_text_becomes_the_same_tokens(world: World, tmp_path: Path) -> None:
    trainer = make_trainer(world, tmp_path)
    data = _data(world)
    for ours, theirs in zip(data.train_dataloader().batches.dataset, trainer.train_dataset, strict=True):
        assert ours.prompt_ids == theirs["prompt_ids"]
        assert ours.completion_ids[0] == theirs["chosen_ids"]
        assert ours.completion_ids[1] == theirs["rejected_ids"]


def test_scores_loss_and_gradients_agree(world: World, lora: bool, tmp_path: Path) -> None:
    module, batch = _moved_module(world, lora), _first_batch(world)
    trainer = _trainer_like(module, world, lora, tmp_path)

    scores = module.score(batch)
    loss = module.pair_losses(batch, scores).mean()
    loss.backward()
    theirs = score(trainer, batch.row_ids.tolist())
    theirs.loss.backward()

    assert scores.chosen_logratio.abs().max() > 0.1, "policy and reference must differ, or this proves nothing"
    for name in ("policy_chosen_logps", "policy_rejected_logps", "reference_chosen_logps", "reference_rejected_logps"):
        _assert_close(getattr(scores, name), getattr(theirs, name), name)
    _assert_close(loss, theirs.loss, "loss")
    ours, expected = gradients(module.policy), gradients(trainer.model)
    assert ours.keys() == expected.keys()
    for name, gradient in ours.items():
        assert expected[name].norm() > 0, name
        assert (gradient - expected[name]).norm() <= RELATIVE * expected[name].norm(), name


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        (DPO(beta=BETA), {"loss_type": "sigmoid"}),
        (IPO(tau=BETA, per_token=True), {"loss_type": "ipo"}),
        (Hinge(beta=BETA), {"loss_type": "hinge"}),
        # On a single pair, where its sorting does nothing, TRL's unpaired AOT is the conservative DPO loss.
        (DPO(beta=BETA, label_smoothing=0.2), {"loss_type": "aot_unpaired", "label_smoothing": 0.2}),
    ],
    ids=["dpo", "ipo", "hinge", "cdpo"],
)
def test_loss_of_each_pair_agrees(objective: Objective, settings: dict[str, Any], tmp_path: Path) -> None:
    world = tiny_world()
    module, batch = _moved_module(world, lora=False, objective=objective), _first_batch(world)
    trainer = _trainer_like(module, world, False, tmp_path, **settings)
    ours = module.pair_losses(batch, module.score(batch))
    theirs = torch.stack([score(trainer, [pair]).loss for pair in batch.row_ids.tolist()])
    assert ours.std() > 0
    _assert_close(ours, theirs, "losses")


def test_training_runs_agree(world: World, lora: bool, tmp_path: Path) -> None:
    module = _module(world, lora, optimizer=lambda params: AdamW(params, lr=world.lr, weight_decay=0.0))
    start = {name: value.clone() for name, value in _weights(module.policy, lora).items()}
    ours = Seen()
    _fit(module, _data(world), ours)

    trainer = make_trainer(
        world,
        tmp_path,
        rows=[world.rows[pair] for batch in ours.batches for pair in batch.row_ids.tolist()],
        peft_config=_trl_lora() if lora else None,
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        beta=BETA,
    )
    _load_weights(trainer.model, start, lora)
    trainer.train()

    assert len(ours.losses) == len(trainer.losses) == STEPS
    assert ours.losses[0] == pytest.approx(0.693147, abs=1e-5)
    assert mean(ours.losses[-5:]) < ours.losses[0] - 0.02, "the run must move, or this proves nothing"
    assert ours.losses == pytest.approx(trainer.losses, abs=1e-4)


def _trl_lora() -> LoraConfig:
    """PEFT writes what it found for "all-linear" into the config, so each model gets its own."""
    return LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear")


def _module(world: World, lora: bool, objective: Objective = OBJECTIVE, **settings: Any) -> PreferenceModule:
    module = PreferenceModule(world.policy(), objective, lora=LORA if lora else None, **settings)
    module.configure_model()
    return module


def _moved_module(world: World, lora: bool, objective: Objective = OBJECTIVE) -> PreferenceModule:
    """A policy that has left its reference: every trainable weight moved, LoRA's zero B included."""
    module = _module(world, lora, objective)
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        if parameter.requires_grad:
            step = torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(step, alpha=0.02 if lora else 0.005)
    return module


def _trainer_like(
    module: PreferenceModule, world: World, lora: bool, output_dir: Path, **settings: Any
) -> RecordingTrainer:
    trainer = make_trainer(world, output_dir, peft_config=_trl_lora() if lora else None, beta=BETA, **settings)
    _load_weights(trainer.model, _weights(module.policy, lora), lora)
    return trainer


def _weights(policy: nn.Module, lora: bool) -> dict[str, Tensor]:
    return get_peft_model_state_dict(policy) if lora else policy.state_dict()


def _load_weights(policy: nn.Module, weights: dict[str, Tensor], lora: bool) -> None:
    if lora:
        assert not set_peft_model_state_dict(policy, weights).unexpected_keys
    else:
        policy.load_state_dict(weights)


def _data(world: World) -> PreferenceDataModule:
    rows = Dataset.from_list(world.rows)
    data = PreferenceDataModule(rows, world.tokenizer(), batch_pairs=BATCH, length_grouped=True)
    data.setup()
    return data


def _first_batch(world: World) -> PreferenceBatch:
    return next(iter(_data(world).train_dataloader()))


def _fit(module: PreferenceModule, data: PreferenceDataModule, recorder: Seen) -> None:
    trainer(
        max_epochs=1,
        max_steps=-1,
        limit_val_batches=0,
        gradient_clip_val=1.0,  # TRL's max_grad_norm
        callbacks=[recorder],
    ).fit(module, data)


def _assert_close(ours: Tensor, theirs: Tensor, name: str) -> None:
    torch.testing.assert_close(ours, theirs, rtol=RELATIVE, atol=0.0, msg=lambda text: f"{name}: {text}")
