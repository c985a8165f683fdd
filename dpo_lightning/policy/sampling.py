"""Sampling from the policy: to look at it, and to measure it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import nn

from dpo_lightning.policy.sharding import is_sharded
from dpo_lightning.utils.tensors import device_of
from dpo_lightning.utils.torch_modes import evaluating


def sample_completions(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    samples_per_prompt: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> list[list[str]]:
    """Sample completions of each prompt as text; the global random state is left as it was.

    Args:
        model: A Hugging Face causal LM.
        tokenizer: Its tokenizer.
        prompts: Token ids of the prompts.
        samples_per_prompt: Completions of each prompt.
        max_new_tokens: Most tokens of a completion.
        temperature: Softmax temperature; 1 samples from the model itself.
        seed: Seed of the samples.

    Returns:
        For each prompt its completions, without special tokens.
    """
    sampled = sample_tokens(
        model,
        prompts,
        tokenizer.eos_token_id,
        samples_per_prompt=samples_per_prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
    )
    return [tokenizer.batch_decode(completions, skip_special_tokens=True) for completions in sampled]


def sample_tokens(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    eos_token_id: int,
    *,
    samples_per_prompt: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    prompts_at_once: int = 1,
) -> list[list[list[int]]]:
    """Sample completions of each prompt as token ids; the global random state is left as it was.

    Only neighbours of one length are in a batch, so that no architecture meets padding on the left.

    Args:
        model: A Hugging Face causal LM.
        prompts: Token ids of the prompts.
        eos_token_id: The token that ends a completion.
        samples_per_prompt: Completions of each prompt.
        max_new_tokens: Most tokens of a completion.
        temperature: Softmax temperature; 1 samples from the model itself.
        seed: Seed of the samples, which also depend on `prompts_at_once`.
        prompts_at_once: Most prompts of a batch.

    Returns:
        For each prompt its completions, each with its EOS unless it is cut at `max_new_tokens`.
    """
    generate: Any = model.generate
    sharded = is_sharded(model)
    device = device_of(model)
    sampled = []
    with torch.no_grad(), evaluating(model), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for batch in _neighbours_of_one_length(prompts, prompts_at_once):
            input_ids = torch.tensor(batch, device=device)
            output = generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                num_return_sequences=samples_per_prompt,
                max_new_tokens=max_new_tokens,
                pad_token_id=eos_token_id,
                eos_token_id=eos_token_id,
                use_cache=True,
                synced_gpus=sharded,  # the ranks go on together until the last one has ended
            )
            completions = [_cut(ids, eos_token_id) for ids in output[:, input_ids.shape[1] :].tolist()]
            sampled += [completions[i : i + samples_per_prompt] for i in range(0, len(completions), samples_per_prompt)]
    return sampled


def _neighbours_of_one_length(prompts: Sequence[Sequence[int]], most: int) -> Iterator[list[Sequence[int]]]:
    for _, group in groupby(prompts, key=len):
        alike = list(group)
        yield from (alike[i : i + most] for i in range(0, len(alike), most))


def _cut(ids: list[int], eos_token_id: int) -> list[int]:
    """Cut after the first EOS; what `generate` puts behind it is padding."""
    return ids[: ids.index(eos_token_id) + 1] if eos_token_id in ids else ids
