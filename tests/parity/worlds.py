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
    """Each call of ``policy`` and ``tokenizer`` makes a new one with the same content."""

    policy: Callable[[], PreTrainedModel]
    tokenizer: Callable[[], PreTrainedTokenizerBase]
    rows: Rows
    lr: float


def tiny_world() -> World:
    return World(tiny_llama, tiny_tokenizer, _letter_rows(80), lr=1e-3)


def stories_world(shared: Path) -> World:
    name = str(shared / "models" / "stories260K")
    with gzip.open(shared / "data" / "stories_happy.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, 80)]
    return World(
        policy=lambda: AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32),
        tokenizer=lambda: AutoTokenizer.from_pretrained(name),
        rows=[{field: row[field] for field in ("prompt", "chosen", "rejected")} for row in rows],
        lr=1e-3,
    )


def _letter_rows(count: int) -> Rows:
    """Preferred is the first half of the alphabet, so that a run has something to learn."""
    rng = random.Random(0)

    def text(letters: str, most: int) -> str:
        return "".join(rng.choices(letters, k=rng.randint(2, most)))

    return [
        {"prompt": text("abcxyz ", 20), "chosen": text("abcdefghijklm", 12), "rejected": text("nopqrstuvwxyz", 16)}
        for _ in range(count)
    ]
