"""Sampling from the policy: to look at it, and to measure it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.decoding import completion_texts
from dpo_lightning.policy.sharding import is_sharded
from dpo_lightning.utils.tensors import device_of
from dpo_lightning.utils.torch_modes import evaluating, left_as_it_was

Advance = Callable[[int], None]
"""Is told how many steps of generation were made; all of them are `steps_of` the batches."""


class Sampling(NamedTuple):
    """How completions are sampled.

    Attributes:
        samples_per_prompt: Completions of each prompt.
        max_new_tokens: Most tokens of a completion.
        temperature: Softmax temperature; 1 samples from the model itself, 0 takes the likeliest token.
        seed: Seed of the samples, which also depend on `prompts_at_once`.
        prompts_at_once: Most prompts of a batch.
        top_p: Share of the probability that is sampled from: the likeliest tokens that reach it; 1 takes all.
    """

    samples_per_prompt: int
    max_new_tokens: int
    temperature: float
    seed: int
    prompts_at_once: int = 1
    top_p: float = 1.0


class PromptBatch(NamedTuple):
    """Prompts that are continued together.

    Attributes:
        number: Number of the batch; it decides on the random numbers.
        places: Places of its prompts among all.
        lengths: Tokens of each of them, the shortest first.
    """

    number: int
    places: list[int]
    lengths: list[int]


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
        temperature: Softmax temperature; 1 samples from the model itself, 0 takes the likeliest token.
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
    return [completion_texts(tokenizer, completions) for completions in sampled]


def sample_tokens(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    eos_token_id: int | None,
    *,
    samples_per_prompt: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    prompts_at_once: int = 1,
) -> list[list[list[int]]]:
    """Sample completions of each prompt as token ids; the global random state is left as it was.

    Args:
        model: A Hugging Face causal LM.
        prompts: Token ids of the prompts.
        eos_token_id: The token that ends a completion, beside those of the model's generation config.
        samples_per_prompt: Completions of each prompt.
        max_new_tokens: Most tokens of a completion.
        temperature: Softmax temperature; 1 samples from the model itself, 0 takes the likeliest token.
        seed: Seed of the samples, which also depend on `prompts_at_once`.
        prompts_at_once: Most prompts of a batch.

    Returns:
        For each prompt its completions, each with its EOS unless it is cut at `max_new_tokens`.
    """
    sampling = Sampling(samples_per_prompt, max_new_tokens, temperature, seed, prompts_at_once)
    sampled = sample_batches(model, prompts, prompt_batches(prompts, sampling), eos_token_id, sampling)
    return [sampled[place] for place in range(len(prompts))]


def prompt_batches(prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[PromptBatch]:
    """Return the prompts in batches of similar length: none is longer than the shortest and a completion of it.

    Raises:
        InputError: for a prompt without a token.
    """
    if not all(len(prompt) for prompt in prompts):
        raise InputError("a prompt without a token cannot be continued: leave it out")
    batches: list[PromptBatch] = []
    for place in sorted(range(len(prompts)), key=lambda each: len(prompts[each])):
        length = len(prompts[place])
        last = batches[-1] if batches else None
        is_far = last is not None and length > last.lengths[0] + sampling.max_new_tokens
        if last is None or is_far or len(last.places) == sampling.prompts_at_once:
            last = PromptBatch(len(batches), [], [])
            batches.append(last)
        last.places.append(place)
        last.lengths.append(length)
    return batches


def steps_of(batches: Sequence[PromptBatch], sampling: Sampling) -> int:
    """Return the steps of generation that the batches take at most."""
    return sum(batch.lengths[-1] - batch.lengths[0] + sampling.max_new_tokens for batch in batches)


def sample_batches(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    batches: Sequence[PromptBatch],
    eos_token_id: int | None,
    sampling: Sampling,
    advance: Advance = lambda steps: None,
) -> dict[int, list[list[int]]]:
    """Return the completions of each prompt of the batches, by its place; random state and model are left as they were.

    All rows of a batch begin with as many tokens as its shortest prompt has. A longer prompt goes on as what is
    generated, token by token, before its completion begins. So no architecture meets padding, nor positions that have
    gaps: not a recurrent one, nor ALiBi, nor learned positions. It costs a step for each token that lengths differ by.

    Args:
        model: A Hugging Face causal LM; its own generation config is left out, but for the tokens that end a text.
        prompts: Token ids of all prompts.
        batches: Those to sample, from `prompt_batches`.
        eos_token_id: The tokenizer's EOS; None where it has none.
        sampling: How to sample.
        advance: Is told of each step.

    Raises:
        InputError: for a model that does not generate.
    """
    if not callable(getattr(model, "generate", None)):
        raise InputError(
            f"{type(model).__name__} has no method `generate` to sample with: give a model of transformers"
        )
    ends = ending_tokens(model, eos_token_id)
    sampled: dict[int, list[list[int]]] = {}
    with _generating(model):
        for batch in batches:
            rows = [list(prompts[place]) for place in batch.places for _ in range(sampling.samples_per_prompt)]
            tokens = _continued(model, rows, batch.number, ends, sampling, advance)
            for number, place in enumerate(batch.places):
                start = number * sampling.samples_per_prompt
                sampled[place] = tokens[start : start + sampling.samples_per_prompt]
    return sampled


def ending_tokens(model: nn.Module, eos_token_id: int | None) -> list[int]:
    """Return the tokens that end a text: the tokenizer's EOS and all of the model's generation config."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found = [*(own if isinstance(own, list | tuple) else [own]), eos_token_id]
    return sorted({each for each in found if each is not None})


def _continued(
    model: nn.Module, rows: list[list[int]], number: int, ends: list[int], sampling: Sampling, advance: Advance
) -> list[list[int]]:
    from transformers import GenerationConfig

    device, generate = device_of(model), getattr(model, "generate")  # noqa: B009 - no attribute of nn.Module
    start, most = min(map(len, rows)), sampling.max_new_tokens
    steps = max(map(len, rows)) - start + most
    watch = _Rows(rows, ends, most, device, advance)
    warm = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": sampling.top_p}
    torch.manual_seed(int(np.random.SeedSequence((sampling.seed, number)).generate_state(1, np.uint64)[0]))
    input_ids = torch.tensor([row[:start] for row in rows], device=device)
    output = generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        generation_config=GenerationConfig(
            max_new_tokens=steps, use_cache=True, **(warm if sampling.temperature else {"do_sample": False})
        ),
        logits_processor=[watch.force],
        stopping_criteria=[watch.ended],
        synced_gpus=is_sharded(model),  # the ranks go on together until the last one has ended
    )
    advance(steps - watch.steps)
    found = output.tolist()
    return [_cut(ids[len(row) : len(row) + most], ends) for ids, row in zip(found, rows, strict=True)]


class _Rows:
    """Rows that are generated, whose prompts may be longer than what they began with.

    Args:
        prompts: The prompt of each row.
        ends: Tokens that end a text.
        most: Most tokens of a completion.
        device: Device of the model.
        advance: Is told of each step.
    """

    def __init__(
        self, prompts: list[list[int]], ends: list[int], most: int, device: torch.device, advance: Advance
    ) -> None:
        self.steps = 0
        longest = max(map(len, prompts))
        self._prompts = torch.tensor([ids + [0] * (longest - len(ids)) for ids in prompts], device=device)
        self._lengths = torch.tensor([len(ids) for ids in prompts], device=device)
        self._ends = torch.tensor(ends, device=device, dtype=torch.long)
        self._most, self._longest, self._advance = most, longest, advance
        self._done = torch.zeros(len(prompts), dtype=torch.bool, device=device)

    def force(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Leave the prompt's own token alone possible, `[R, V]`, where a prompt goes on.

        Raises:
            RuntimeError: for scores that are no distribution: to sample from these would end the process of a GPU.
        """
        if scores.isnan().any() or scores.isposinf().any():
            raise RuntimeError("the model gives NaN or infinite scores")
        place = input_ids.shape[1]
        if place >= self._longest:
            return scores
        token = self._prompts[:, place : place + 1]
        forced = torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)
        return torch.where((self._lengths > place)[:, None], forced, scores)

    def ended(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Return whether each row is done, `[R]` bool: an end behind its prompt, or a whole completion."""
        self.steps += 1
        self._advance(1)
        new = input_ids.shape[1] - self._lengths
        self._done = self._done | (new >= self._most) | (torch.isin(input_ids[:, -1], self._ends) & (new > 0))
        return self._done


@contextmanager
def _generating(model: nn.Module) -> Iterator[None]:
    """Let a model generate: eval mode, no graph, not compiled, settings of its own left out; then as it was."""
    from transformers import GenerationConfig

    device = device_of(model)
    own = [(each, vars(each)["generation_config"]) for each in model.modules() if "generation_config" in vars(each)]
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(model))
        stack.enter_context(left_as_it_was(model))
        # Each length would be compiled anew.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        try:
            for holder, _ in own:
                holder.generation_config = GenerationConfig()
            yield
        finally:
            for holder, config in own:
                holder.generation_config = config


def _cut(ids: list[int], ends: list[int]) -> list[int]:
    """Cut after the first token that ends a text; the row went on until all had ended."""
    end = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[: end + 1]
