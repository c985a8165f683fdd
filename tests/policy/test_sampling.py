"""Sampling in batches of prompts."""

from __future__ import annotations

import torch

from dpo_lightning.policy.sampling import sample_completions, sample_tokens
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

EOS = 2


def sample(model, prompts, **settings):
    given = {"samples_per_prompt": 3, "max_new_tokens": 12, "temperature": 1.0, "seed": 0, **settings}
    return sample_tokens(model, prompts, EOS, **given)


def test_prompts_of_one_length_are_sampled_at_once_and_stay_in_order(monkeypatch):
    model, prompts = tiny_llama(), [[1, 5], [1, 6], [1, 7], [1, 5, 8], [1, 9]]
    generate, shapes = model.generate, []

    def watched(**settings):
        shapes.append(tuple(settings["input_ids"].shape))
        return generate(**settings)

    monkeypatch.setattr(model, "generate", watched)
    sampled = sample(model, prompts, prompts_at_once=2)
    assert shapes == [(2, 2), (1, 2), (1, 3), (1, 2)]
    assert [len(completions) for completions in sampled] == [3] * 5


def test_each_prompt_of_a_batch_gets_its_own_completions():
    """The most frequent first token of each prompt is the likeliest one after that prompt."""
    model, prompts = tiny_llama(initializer_range=0.6), [[1, 5], [1, 6], [1, 7]]
    with torch.no_grad():
        likeliest = model(torch.tensor(prompts)).logits[:, -1].argmax(-1).tolist()
    assert len(set(likeliest)) > 1, "the test needs prompts that differ"
    sampled = sample(model, prompts, samples_per_prompt=400, max_new_tokens=1, prompts_at_once=3)
    first = torch.tensor(sampled).squeeze(-1)
    assert first.mode(dim=1).values.tolist() == likeliest


def test_a_completion_ends_with_its_eos_or_is_cut():
    sampled = sample(tiny_llama(), [[1, 5], [1, 6]], samples_per_prompt=200, prompts_at_once=2)
    ended = [EOS in ids for completions in sampled for ids in completions]
    assert 0 < sum(ended) < len(ended)
    for ids in (ids for completions in sampled for ids in completions):
        assert ids.count(EOS) == (ids[-1] == EOS) == (len(ids) < 12 or ids[-1] == EOS)


def test_the_text_is_that_of_the_tokens():
    model, tokenizer, prompts = tiny_llama(), tiny_tokenizer(), [[1, 5], [1, 6, 7]]
    texts = sample_completions(
        model, tokenizer, prompts, samples_per_prompt=3, max_new_tokens=12, temperature=1.0, seed=0
    )
    sampled = sample(model, prompts)
    assert texts == [tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in sampled]
