"""A small run in a directory: data, model and a Trainer that writes nothing unless asked."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch.optim import AdamW
from torch.utils.data import DataLoader

from dpo_lightning import PreferenceDataModule, PreferenceModule, collate_padded
from tests.helpers.tiny import PAIRS, tiny_llama, tiny_tokenizer

MEASURED = {"train/seconds", "train/pairs_per_second", "train/tokens_per_second", "train/memory_gib"}
"""Metrics of a process and its clock, of which no two runs have the same."""

WORDS = ["sun", "moon", "star", "cloud", "rain", "snow", "wind", "storm"]


def computed(metrics: Any) -> dict[str, float]:
    """The metrics that two equal runs have alike."""
    return {name: float(value) for name, value in metrics.items() if name not in MEASURED}


def rows(count: int) -> list[dict[str, str]]:
    """Pairs with a rule: the chosen completion is polite."""
    return [
        {
            "prompt": f"the {WORDS[i % 8]} {WORDS[i // 8 % 8]}:",
            "chosen": f" please {i % 7}",
            "rejected": f" no {i % 5}!",
        }
        for i in range(count)
    ]


def write_rows(path: Path, count: int = 24) -> str:
    """Write pairs as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)))
    return str(path)


def saved_model(directory: Path, **overrides: Any) -> str:
    """A tiny Llama with its tokenizer, as a Hugging Face directory."""
    tiny_llama(**overrides).save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return str(directory)


def data(path: Path, count: int = 24, **settings: Any) -> PreferenceDataModule:
    """A DataModule over written pairs, with four of them per batch."""
    settings = {"tokenizer": tiny_tokenizer(), "val_split": "train[:8]", "batch_pairs": 4, **settings}
    return PreferenceDataModule(write_rows(path / "pairs.jsonl", count), **settings)


def module(policy: Any = None, lr: float = 1e-3, **settings: Any) -> PreferenceModule:
    """A PreferenceModule on a tiny Llama."""
    return PreferenceModule(
        tiny_llama() if policy is None else policy,
        **{"optimizer": partial(AdamW, lr=lr, weight_decay=0.1), **settings},
    )


class KeptElsewhere(PreferenceDataModule):
    """A DataModule whose subclass has a setup and loaders of its own."""

    def prepare_data(self) -> None:
        """Do nothing."""

    def setup(self, stage: str) -> None:
        """Read nothing."""

    def train_dataloader(self) -> Any:
        """Return pairs in memory."""
        return DataLoader(PAIRS, batch_size=1, collate_fn=collate_padded)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


class Losses(pl.Callback):
    """Keeps the loss of every micro-batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].item())


class Seen(Losses):
    """Keeps the micro-batches, too."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.batches.append(batch)


def trainer(**settings: Any) -> pl.Trainer:
    """A quiet Trainer on one CPU."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "max_steps": 3,
    }
    return pl.Trainer(**{**quiet, **settings})


def fit(path: Path, model: PreferenceModule, **settings: Any) -> tuple[pl.Trainer, list[float]]:
    """A run over the pairs of a directory, and the loss of each of its micro-batches."""
    recorder = Losses()
    run = trainer(callbacks=[recorder, *settings.pop("callbacks", [])], **settings)
    run.fit(model, data(path))
    return run, recorder.losses
