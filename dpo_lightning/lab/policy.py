"""The lab's starting policy: a small Llama fitted on the world's text, so that there is something to prefer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.optim import AdamW

from dpo_lightning import SFT, Cosine, InputError, PreferenceDataModule, PreferenceModule
from dpo_lightning.callbacks import ProgressLine
from dpo_lightning.utils.logs import log_level
from dpo_lightning.utils.settings import POSITIVE, SEED, at_least, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PolicyRecipe:
    """Settings of the starting policy.

    Args:
        hidden_size: Width of the model, a multiple of 2 x `heads`.
        layers: Decoder layers.
        heads: Attention heads.
        texts: Completions of mixed quality to fit it on, each read once.
        batch_size: Completions of a step.
        learning_rate: Peak of AdamW's learning rate, which then falls along a cosine.
        seed: Seed of the initial weights and of the order.
    """

    hidden_size: int = 64
    layers: int = 2
    heads: int = 4
    texts: int = 9600
    batch_size: int = 16
    learning_rate: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = dict.fromkeys(("hidden_size", "layers", "heads", "texts", "batch_size"), at_least(1))
        require(self, "recipe", learning_rate=POSITIVE, seed=SEED, **sizes)
        if self.hidden_size % (2 * self.heads):
            raise InputError(f"recipe.hidden_size must be a multiple of 2 x heads, got {self}")


def fit_policy(
    recipe: PolicyRecipe,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    path: Path,
    *,
    progress_bar: bool = True,
) -> None:
    """Fit a new policy with the objective SFT on one CPU, and write model and tokenizer to `path`.

    The global random state stays as it was.

    Args:
        recipe: Model and optimisation.
        tokenizer: Tokenizer of the rows.
        rows: Rows with prompt, chosen and rejected; the chosen completions are fitted.
        path: Directory to create.
        progress_bar: Whether to show one.
    """
    from datasets import Dataset

    # Or Lightning would tell about its devices and its end twice in a run.
    with isolate_rng(include_cuda=False), log_level("lightning.pytorch", logging.WARNING):
        torch.default_generator.manual_seed(recipe.seed)  # torch.manual_seed would seed accelerators too
        model = _new_model(recipe, tokenizer)
        module = PreferenceModule(
            model,
            SFT(),
            optimizer=partial(AdamW, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
            schedule=Cosine(warmup=0.05, floor=0.05),
        )
        # Batches of one length leave twice as many malformed sentences.
        data = PreferenceDataModule(
            Dataset.from_list(rows), tokenizer, batch_pairs=recipe.batch_size, length_grouped=False, seed=recipe.seed
        )
        _trainer(progress_bar).fit(module, datamodule=data)
    model.config.use_cache = True
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def _new_model(recipe: PolicyRecipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=2 * recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=True,
        initializer_range=0.1,  # at 0.05 five times as many sentences come out malformed
    )
    return LlamaForCausalLM(config)


def _trainer(progress_bar: bool) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        log_every_n_steps=50,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress_bar,
        callbacks=[ProgressLine(["loss"])] if progress_bar else [],  # rewards mean nothing in this fit
    )
