"""Small models, tokenizers and rows in the place of those that real configs name, and runs of converted configs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
import yaml
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from dpo_lightning.cli.main import main
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

STEPS = 20
ROWS = 40
CHATML = ["<|im_start|>", "<|im_end|>"]
LLAMA3 = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


class Recorder(pl.Callback):
    """Keeps rows and loss of each micro-batch and the trained weights before the first; ends after some steps."""

    rows: ClassVar[list[list[int]]] = []
    losses: ClassVar[list[float]] = []
    start: ClassVar[dict[str, Tensor]] = {}
    most: ClassVar[int] = STEPS

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.rows.clear()
        self.losses.clear()
        self.start.clear()
        named = pl_module.policy.named_parameters()
        self.start.update({name: each.detach().clone() for name, each in named if each.requires_grad})

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.rows.append(batch.row_ids.tolist())
        self.losses.append(outputs["loss"].item())
        if trainer.global_step >= self.most:
            trainer.should_stop = True


def text(seed: int, length: int) -> str:
    return "".join(random.Random(seed).choices("abcdefghijklmnop ", k=length)).strip() or "a"


def pair(number: int) -> tuple[str, str, str]:
    """A question and two answers."""
    return text(number, 4 + number % 5), text(number + 1000, 3 + number % 4), text(number + 2000, 2 + number % 6)


def tokenizer(tokens: list[str], **settings: Any) -> PreTrainedTokenizerFast:
    """The tiny one, with further control tokens."""
    made = tiny_tokenizer(**settings)
    made.add_special_tokens({"additional_special_tokens": tokens})
    return made


def model(directory: Path, tokens: list[str], **settings: Any) -> str:
    """A tiny Llama in float64, with that tokenizer."""
    tiny_llama(vocab_size=72, initializer_range=0.1, num_hidden_layers=1).double().save_pretrained(directory)
    tokenizer(tokens, **settings).save_pretrained(directory)
    return str(directory)


def run(converted: Path, steps: int = STEPS, **data: Any) -> None:
    """Fit by a converted config, on this machine's CPU and in float64, with a recorder."""
    config = yaml.safe_load(converted.read_text())
    on_cpu = {"accelerator": "cpu", "devices": 1, "precision": "64-true", "strategy": "auto", "logger": False}
    config["trainer"] |= {**on_cpu, "enable_progress_bar": False, "enable_model_summary": False}
    config["trainer"]["callbacks"] = [{"class_path": f"{Recorder.__module__}.Recorder"}]
    config["data"] |= data
    config["model"].pop("quantization_config", None)
    Recorder.most = steps
    whole = converted.with_name("run.yaml")
    whole.write_text(yaml.safe_dump(config, sort_keys=False))
    main(["fit", "--config", str(whole)])


def by_step(parts: list[float], accumulated: int) -> list[float]:
    """The loss of each optimizer step, of what its micro-batches add to it."""
    return [float(each) for each in torch.tensor(parts, dtype=torch.float64).reshape(-1, accumulated).sum(1)]
