"""What both sides are given: the same weights, tokenizer and texts."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tests.helpers.tiny import tiny_llama, tiny_tokenizer

Rows = list[dict[str, str]]


class World(NamedTuple):
    """Each call of ``policy``, ``reference`` and ``tokenizer`` makes a new one with the same content."""

    policy: Callable[[], PreTrainedModel]
    reference: Callable[[], PreTrainedModel]
    tokenizer: Callable[[], PreTrainedTokenizerBase]
    rows: Rows
    lr: float


def tiny_world() -> World:
    rows = letter_rows(80, prompt=range(2, 21), chosen=range(2, 13), rejected=range(2, 17))
    return World(tiny_llama, tiny_llama, tiny_tokenizer, rows, lr=1e-3)


def float64_world(rows: Rows) -> World:
    """A policy in float64 that has left its reference, and no BOS, which TRL's older trainers would add to prompts."""

    def reference() -> PreTrainedModel:
        return tiny_llama(num_hidden_layers=1, initializer_range=0.1).double()

    def policy() -> PreTrainedModel:
        model = reference()
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            step = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.data.add_(step, alpha=0.02)
        return model

    return World(policy, reference, lambda: tiny_tokenizer(bos_token=None), rows, lr=0.002)


def stories_world(shared: Path) -> World:
    name = str(shared / "models" / "stories260K")
    with gzip.open(shared / "data" / "stories_happy.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, 80)]

    def policy() -> PreTrainedModel:
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)

    return World(
        policy=policy,
        reference=policy,
        tokenizer=lambda: AutoTokenizer.from_pretrained(name),
        rows=[{field: row[field] for field in ("prompt", "chosen", "rejected")} for row in rows],
        lr=1e-3,
    )


def letter_rows(count: int, *, prompt: range, chosen: range, rejected: range) -> Rows:
    """Letters at random, as many as in the range, of which the first half of the alphabet is preferred."""
    rng = random.Random(0)

    def text(letters: str, lengths: range) -> str:
        return "".join(rng.choices(letters, k=rng.choice(lengths)))

    return [
        {
            "prompt": text("abcxyz ", prompt),
            "chosen": text("abcdefghijklm", chosen),
            "rejected": text("nopqrstuvwxyz", rejected),
        }
        for _ in range(count)
    ]
