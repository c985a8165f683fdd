"""What the tests of the references share: a batch, policies, and a few optimizer steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dpo_lightning.batch import collate_padded
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tests.helpers.tiny import PAIRS, tiny_llama

BATCH = collate_padded(PAIRS)


def policy_of(source: Any = None, lora: LoRA | None = None, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A policy as the module builds it, in train mode, on a tiny Llama where nothing else is given."""
    torch.manual_seed(3)
    return build_policy(tiny_llama() if source is None else source, dtype, PolicyOptions(lora=lora))


def logps(model: nn.Module) -> Tensor:
    """Of the batch's tokens, without a graph."""
    with torch.no_grad():
        return TokenScorer(model)(BATCH).logps


def train(policy: nn.Module, steps: int = 3, after_each: Callable[[], None] = lambda: None) -> None:
    """Steps that move the policy far enough to see."""
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=0.01)
    score = TokenScorer(policy)
    for _ in range(steps):
        optimizer.zero_grad()
        (-score(BATCH).logps).mean().backward()
        optimizer.step()
        after_each()


def distance(one: Tensor, other: Tensor) -> float:
    """Largest difference, nats."""
    return (one - other).abs().max().item()
