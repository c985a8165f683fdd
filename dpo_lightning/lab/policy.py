"""The lab's starting policy: a small Llama fitted on the world's text, so that there is something to prefer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.optim import AdamW

from dpo_lightning.data import PreferenceDataModule
from dpo_lightning.errors import InputError
from dpo_lightning.losses import SFT
from dpo_lightning.module import PreferenceModule
from dpo_lightning.schedules import Cosine

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PolicyRecipe:
    """How the starting policy is made.

    Args:
        hidden_size: Width of the model, a multiple of `heads`.
        layers: Decoder layers.
        heads: Attention heads.
        texts: Completions to fit it on, of mixed quality, each read once.
        batch_size: Completions of a step.
        learning_rate: Peak of the learning rate of AdamW; it falls along a cosine.
        seed: Seed of the initial weights.
    """

    hidden_size: int = 64
    layers: int = 2
    heads: int = 4
    texts: int = 9600
    batch_size: int = 16
    learning_rate: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.heads):
            raise InputError(f"recipe.hidden_size must be a multiple of 2 x heads, got {self}")


def fit_policy(
    recipe: PolicyRecipe, tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]], path: Path
) -> None:
    """Fit a new policy with the objective SFT on one CPU, and write model and tokenizer to ``path``.

    The global random state and the outer run's settings stay as they were.
    """
    from datasets import Dataset

    with isolate_rng(include_cuda=False):
        torch.default_generator.manual_seed(recipe.seed)  # torch.manual_seed would seed the accelerators too
        model = _new_model(recipe, tokenizer)
        module = PreferenceModule(
            model,
            SFT(),
            optimizer=partial(AdamW, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
            schedule=Cosine(warmup=0.05, floor=0.05),
        )
        # Only this process fits; in a distributed run the others wait, and cannot take part in a reduction.
        module.train_metrics.sync_on_compute = False
        data = PreferenceDataModule(
            Dataset.from_list(rows), tokenizer, batch_size=recipe.batch_size, length_grouped=False, seed=recipe.seed
        )
        _trainer().fit(module, datamodule=data)
    model.config.use_cache = True
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def _new_model(recipe: PolicyRecipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=3 * recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=True,
        initializer_range=0.1,  # the usual 0.02 is for wide models: this one would take twice the steps
    )
    return LlamaForCausalLM(config)


def _trainer() -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        gradient_clip_val=1.0,
    )
