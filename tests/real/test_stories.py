"""A real pretrained Llama learns a known true reward from preferences: full fine-tuning and LoRA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch.optim import AdamW

from dpo_lightning import LoRA, PreferenceDataModule, PreferenceModule
from dpo_lightning.models import evaluating

SAMPLES_PER_PROMPT = 4
NEW_TOKENS = 96

Reward = Callable[[str], int]


@pytest.fixture(scope="module")
def happy_reward(shared: Path) -> Reward:
    spec = spec_from_file_location("happy_reward", shared / "data" / "happy_reward.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.happy_reward


@pytest.mark.parametrize(
    ("lora", "lr"),
    [pytest.param(None, 2e-4, id="full"), pytest.param(LoRA(r=8, alpha=16), 1e-3, id="lora")],
)
def test_held_out_pairs_and_fresh_samples(lora: LoRA | None, lr: float, shared: Path, happy_reward: Reward) -> None:
    pl.seed_everything(0)
    data = PreferenceDataModule(
        str(shared / "data" / "stories_happy.jsonl.gz"),
        train_split="train[:1200]",
        val_split="train[1200:]",
        max_length=512,
        batch_size=16,
        eval_batch_size=48,
    )
    module = PreferenceModule(
        str(shared / "models" / "stories260K"),
        lora=lora,
        optimizer=lambda params: AdamW(params, lr=lr, weight_decay=0.0),
    )
    module.configure_model()
    trainer = pl.Trainer(
        max_epochs=2,
        check_val_every_n_epoch=2,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    assert trainer.callback_metrics["val/rewards/accuracies"] >= 0.92
    assert trainer.callback_metrics["val/loss"] <= 0.25

    prompts = [pair.prompt_ids for pair in data.val_dataloader().batches.dataset]
    assert len(prompts) == 240
    after = _mean_reward(module.policy, data.tokenizer, prompts, happy_reward)
    assert after >= 9


def test_reward_before_training(shared: Path, happy_reward: Reward) -> None:
    """The start that the rise is measured from."""


def _mean_reward(policy: torch.nn.Module, tokenizer: object, prompts: Sequence[list[int]], reward: Reward) -> float:
    """Mean true reward of fresh samples at temperature 1."""
    texts = _sample(policy, tokenizer, prompts)
    return sum(map(reward, texts)) / len(texts)
