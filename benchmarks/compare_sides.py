"""The sides of `compare.py`: what each is, and what it is told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpo_lightning import TokenizedExample

RECIPE: dict[str, Any] = {
    "beta": 0.1,
    "max_length": 1024,
    "optimizer": "AdamW(fused=True)",
    "weight_decay": 0.0,
    "schedule": "constant",
    # Lightning refuses to clip under mixed precision when the optimizer is fused.
    "gradient_clip": None,
    "log_every_n_steps": 10,
    "seed": 0,
}
LEARNING_RATE = {"full": 1e-4, "lora": 1e-3}
"""Large enough for the losses to leave ln 2 in a few steps: only then do they show whether the gradients agree."""
LORA: dict[str, Any] = {"r": 16, "alpha": 32, "target_modules": "all-linear"}

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**36),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""Tells glibc to keep freed memory: otherwise each large tensor is mapped, and its pages cleared, anew."""


@dataclass(frozen=True)
class Side:
    """One way to train: which library, with what on top of the recipe."""

    library: str
    layout: str = "padded"
    bare: bool = False
    grouped: bool = False
    malloc: bool = False
    lists: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


_STORED = {"activation_checkpointing": False}
_PRECOMPUTED = {"precompute_ref_log_probs": True}

SIDES = {
    "tree": Side("ours", "tree"),
    "tree-malloc": Side("ours", "tree", malloc=True),
    "bare": Side("ours", "tree", bare=True),
    "bare-malloc": Side("ours", "tree", bare=True, malloc=True),
    "padded": Side("ours", grouped=True),
    "padded-malloc": Side("ours", grouped=True, malloc=True),
    "list": Side("ours", "tree", lists=True),
    "list-malloc": Side("ours", "tree", lists=True, malloc=True),
    "list-padded": Side("ours", grouped=True, lists=True),
    "list-padded-malloc": Side("ours", grouped=True, lists=True, malloc=True),
    "trl": Side("trl"),
    "trl-stored": Side("trl", settings=_STORED),
    "trl-stored-malloc": Side("trl", malloc=True, settings=_STORED),
    "trl-grouped-malloc": Side("trl", grouped=True, malloc=True, settings=_STORED),
    "trl-best": Side("trl", grouped=True, malloc=True, settings={**_STORED, **_PRECOMPUTED}),
    "trl-lean": Side("trl", grouped=True, settings=_PRECOMPUTED),
}
"""`stored`: activations are kept, where TRL's default computes them again. `best` and `lean` compute the reference
before the training. `grouped`: pairs of similar length in a batch; TRL gets our grouping, over 64 steps where its own
takes 50, so that its batches are known. `list`: each prompt once with all its completions, under the mean of DPO over
their pairs, where the other sides get the pairs as rows."""


@dataclass(frozen=True)
class Spec:
    """What a side's process is told, as JSON."""

    side: str
    model: str
    mode: str
    precision: str
    device: str
    warmup: int
    batch: int
    examples: list[TokenizedExample]
    scratch: str

    @property
    def steps(self) -> int:
        """Steps of the run, warm-up included."""
        return len(self.examples) // self.batch

    @classmethod
    def read(cls, path: Path) -> Spec:
        """The inverse of `json.dumps(asdict(spec))`."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**fields, "examples": [TokenizedExample(*each) for each in fields["examples"]]})
