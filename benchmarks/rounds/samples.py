"""Pairs of a round: sampled from a policy, scored with the lab's true reward, and paired."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from benchmarks.rounds.arms import Arm
from dpo_lightning.errors import InputError
from dpo_lightning.lab import true_reward
from dpo_lightning.policy.sampling import sample_tokens

_PROMPTS_AT_ONCE = 128

Row = dict[str, Any]


def sampled_pairs(
    policy: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    count: int,
    arm: Arm,
    *,
    max_new_tokens: int,
    seed: int,
) -> list[Row]:
    """Return rows of pairs made of a policy's own completions, in the order of the prompts.

    A prompt whose completions are worth the same gives none; the next one stands in for it.

    Args:
        policy: A Hugging Face causal LM.
        tokenizer: Its tokenizer.
        prompts: Token ids of prompts of the lab's world.
        count: Number of pairs.
        arm: How many completions, and what pairs are made of them.
        max_new_tokens: Most tokens of a completion.
        seed: Seed of the samples.

    Raises:
        InputError: where all prompts together give fewer pairs.
    """
    rows: list[Row] = []
    for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
        batch = prompts[start : start + _PROMPTS_AT_ONCE]
        sampled = sample_tokens(
            policy,
            batch,
            tokenizer.eos_token_id,
            samples_per_prompt=arm.samples,
            max_new_tokens=max_new_tokens,
            temperature=1.0,
            seed=seed + start,
            prompts_at_once=_PROMPTS_AT_ONCE,
        )
        for prompt, completions in zip(batch, sampled, strict=True):
            rows += pairs_of(_text(tokenizer, prompt), [_text(tokenizer, each) for each in completions], arm)
        if len(rows) >= count:
            return rows[:count]
    raise InputError(f"rounds: {len(prompts)} prompts give {len(rows)} pairs, not {count}")


def pairs_of(prompt: str, completions: Sequence[str], arm: Arm) -> list[Row]:
    """Return the pairs of a prompt whose true rewards differ."""
    ranked = sorted(((true_reward(prompt, each), each) for each in completions), reverse=True)
    return [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        for (better, chosen), (worse, rejected) in _matched(ranked, arm)
        if better > worse
    ]


def _matched(ranked: list[tuple[float, str]], arm: Arm) -> Iterator[tuple[tuple[float, str], tuple[float, str]]]:
    """Yield pairs of completions, the better one first."""
    if arm.pairing == "best-worst":
        return iter([(ranked[0], ranked[-1])])
    return itertools.combinations(ranked, 2)


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))
