"""Sampling from the policy, to look at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dpo_lightning.modes import evaluating
from dpo_lightning.parallel import is_sharded


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
    """Sample completions of each prompt; the global random state is left as it was.

    Each prompt is a batch of its own, so that no architecture meets padding on the left.

    Args:
        model: A Hugging Face causal LM.
        tokenizer: Its tokenizer.
        prompts: Token ids of the prompts.
        samples_per_prompt: Completions of each prompt.
        max_new_tokens: Most tokens of a completion.
        temperature: Softmax temperature; 1 samples from the model itself.
        seed: Seed of the samples.

    Returns:
        For each prompt its completions as text, without special tokens.
    """
    generate: Any = model.generate
    sharded = is_sharded(model)
    device = next(model.parameters()).device
    completions = []
    with torch.no_grad(), evaluating(model), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for prompt in prompts:
            input_ids = torch.tensor([prompt], device=device)
            output = generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                num_return_sequences=samples_per_prompt,
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.eos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                use_cache=True,
                synced_gpus=sharded,  # the ranks go on together until the last one has ended
            )
            completions.append(tokenizer.batch_decode(output[:, len(prompt) :], skip_special_tokens=True))
    return completions
