"""True reward of a policy, and its KL divergence from the reference, from fresh samples of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.lab.reward import true_reward
from dpo_lightning.policy.sampling import sample_tokens
from dpo_lightning.utils.torch_modes import evaluating

_PROMPTS_AT_ONCE = 128
_ROWS_AT_ONCE = 512


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: float
    error: float


class Measurement(NamedTuple):
    """Means of a policy's samples.

    Attributes:
        reward: True reward of a completion.
        kl: KL divergence of the policy from the reference in nats per completion.
        tokens: Length of a completion in tokens, with its EOS.
    """

    reward: Estimate
    kl: Estimate
    tokens: Estimate


def measure(
    policy: nn.Module,
    reference: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    samples_per_prompt: int,
    max_new_tokens: int,
    seed: int,
) -> Measurement:
    """Sample completions from the policy at temperature 1 and measure them.

    The standard errors are those of a mean over the prompts, since samples of one prompt are not independent.

    Args:
        policy: A Hugging Face causal LM.
        reference: One with the same vocabulary.
        tokenizer: Tokenizer of both.
        prompts: Token ids of prompts of the lab's world.
        samples_per_prompt: Completions of each.
        max_new_tokens: Most tokens of a completion; the KL divergence is that of completions cut there.
        seed: Seed of the samples.
    """
    prompts = sorted(prompts, key=len)
    completions = sample_tokens(
        policy,
        prompts,
        tokenizer.eos_token_id,
        samples_per_prompt=samples_per_prompt,
        max_new_tokens=max_new_tokens,
        temperature=1.0,
        seed=seed,
        prompts_at_once=_PROMPTS_AT_ONCE,
    )
    rows = [
        (prompt, completion) for prompt, several in zip(prompts, completions, strict=True) for completion in several
    ]
    texts = [tuple(tokenizer.batch_decode(row, skip_special_tokens=True)) for row in rows]
    divergences = kl_along(policy, reference, rows).tolist()
    return Measurement(
        _over_prompts([true_reward(prompt, completion) for prompt, completion in texts], samples_per_prompt),
        _over_prompts(divergences, samples_per_prompt),
        _over_prompts([float(len(completion)) for _, completion in rows], samples_per_prompt),
    )


@torch.no_grad()
def kl_along(
    policy: nn.Module, reference: nn.Module, rows: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> Float[Tensor, " S"]:
    r"""KL divergence of the policy from the reference, exact at each token, summed along completions.

    .. math:: \sum_t \sum_v \pi(v \mid y_{<t}) \log\frac{\pi(v \mid y_{<t})}{\pi_{ref}(v \mid y_{<t})}

    Over completions `y` sampled from the policy its mean is the divergence between the two distributions of
    completions, as is that of the log-ratio; it varies less, and is never negative (arXiv:2504.10637).

    Args:
        policy: A Hugging Face causal LM, in which a token does not see those after it.
        reference: One with the same vocabulary.
        rows: Token ids of prompt and completion, each completion with its EOS.

    Returns:
        `[S]` float32, nats.
    """
    sums = []
    with evaluating(policy), evaluating(reference):
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            ids, scored = _padded(rows[start : start + _ROWS_AT_ONCE])
            logps, reference_logps = (
                model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1) for model in (policy, reference)
            )
            divergences = (logps.exp() * (logps - reference_logps)).sum(-1)
            sums.append((divergences * scored).sum(-1))
    return torch.cat(sums)


def _padded(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[Tensor, Tensor]:
    """Pad ids on the right, `[S, L]`, and put a 1 at each position that predicts a token of the completion."""
    longest = max(len(prompt) + len(completion) for prompt, completion in rows)
    ids, scored = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest)
    for row, (prompt, completion) in enumerate(rows):
        end = len(prompt) + len(completion)
        ids[row, :end] = torch.tensor([*prompt, *completion])
        scored[row, len(prompt) - 1 : end - 1] = 1
    return ids, scored


def _over_prompts(values: Sequence[float], samples_per_prompt: int) -> Estimate:
    means = [
        statistics.fmean(values[start : start + samples_per_prompt])
        for start in range(0, len(values), samples_per_prompt)
    ]
    return estimate(means)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of independent values; the error of a single one is not known (nan)."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(statistics.fmean(values), error)
