"""A real pretrained Llama learns a known true reward from preferences: full fine-tuning and LoRA."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import jaxtyping
import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.optim import AdamW
from transformers import AutoModelForCausalLM

from dpo_lightning import LoRA, PreferenceDataModule, PreferenceModule

SAMPLES_PER_PROMPT = 4
NEW_TOKENS = 96

Reward = Callable[[str], int]


@pytest.fixture(autouse=True)
def _without_shape_checks() -> Iterator[None]:
    """Thousands of batches of one kind: to check the shapes of each takes an eighth of the time."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="module")
def happy_reward(shared: Path) -> Reward:
    spec = spec_from_file_location("happy_reward", shared / "data" / "happy_reward.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.happy_reward


def test_pretrained_model_starts_low(shared: Path, happy_reward: Reward) -> None:
    data = _stories(shared)
    data.setup()
    policy = AutoModelForCausalLM.from_pretrained(shared / "models" / "stories260K", dtype=torch.float32)
    assert _mean_reward(policy, data, happy_reward) == pytest.approx(1.7, abs=0.5)


@pytest.mark.parametrize(
    ("lora", "lr"),
    [pytest.param(None, 2e-4, id="full"), pytest.param(LoRA(r=8, alpha=16), 1e-3, id="lora")],
)
def test_training_lifts_the_true_reward(lora: LoRA | None, lr: float, shared: Path, happy_reward: Reward) -> None:
    pl.seed_everything(0)
    data = _stories(shared)
    module = PreferenceModule(
        str(shared / "models" / "stories260K"),
        lora=lora,
        optimizer=lambda params: AdamW(params, lr=lr, weight_decay=0.0),
    )
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
    assert trainer.global_step == 2 * 1200 / 16
    assert trainer.callback_metrics["val/rewards/accuracies"] >= 0.92
    assert trainer.callback_metrics["val/loss"] <= 0.22
    assert _mean_reward(module.policy, data, happy_reward) >= 9


def _stories(shared: Path) -> PreferenceDataModule:
    return PreferenceDataModule(
        str(shared / "data" / "stories_happy.jsonl.gz"),
        str(shared / "models" / "stories260K"),
        train_split="train[:1200]",
        val_split="train[1200:]",
        max_length=512,
        batch_pairs=16,
        eval_batch_pairs=48,
    )


def _mean_reward(policy: nn.Module, data: PreferenceDataModule, reward: Reward) -> float:
    """Mean true reward of fresh samples on every second held-out prompt."""
    prompts = [pair.prompt_ids for pair in data.val_dataloader().batches.dataset][::2]
    rewards = [reward(text) for text in _sample(policy, data.tokenizer, prompts)]
    assert len(rewards) == 120 * SAMPLES_PER_PROMPT
    return sum(rewards) / len(rewards)


@torch.no_grad()
def _sample(policy: Any, tokenizer: Any, prompts: Sequence[list[int]]) -> list[str]:
    """All completions in one left-padded batch at temperature 1, which is a minute faster than prompt by prompt."""
    width = max(map(len, prompts))
    padding = [[0] * (width - len(prompt)) for prompt in prompts]
    torch.manual_seed(0)
    output = policy.eval().generate(
        input_ids=torch.tensor([pad + prompt for pad, prompt in zip(padding, prompts, strict=True)]),
        attention_mask=torch.tensor([pad + [1] * len(prompt) for pad, prompt in zip(padding, prompts, strict=True)]),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        num_return_sequences=SAMPLES_PER_PROMPT,
        max_new_tokens=NEW_TOKENS,
        pad_token_id=tokenizer.eos_token_id,
        use_cache=True,
    )
    return tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
