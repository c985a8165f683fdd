"""Sampling in batches of prompts."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.policy.sampling import (
    Sampling,
    ending_tokens,
    prompt_batches,
    sample_batches,
    sample_completions,
    sample_tokens,
    steps_of,
)
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tools.docs.architecture_cases import CASES

EOS = 2
GREEDY = {"temperature": 0.0, "samples_per_prompt": 1}


def sample(model, prompts, **settings):
    given = {"samples_per_prompt": 3, "max_new_tokens": 12, "temperature": 1.0, "seed": 0, **settings}
    return sample_tokens(model, prompts, EOS, **given)


PROMPTS = [[1, 5, 9, 13, 17, 21, 25, 29, 33, 37], [1, 6, 7], [1, 8, 4, 30], [1, 6, 7, 11, 3, 50, 40]]


@torch.no_grad()
def greedy(model, prompt, count, ends=(EOS,)):
    """The likeliest continuation by whole forwards, without a cache and alone."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in ends:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_prompts_of_several_lengths_at_once_are_greedy_ones_alone(case):
    model = case.model().double().eval()
    model.config.use_cache = False
    prompts = [[each % 32 for each in prompt] for prompt in PROMPTS]
    expected = [[greedy(model, prompt, 7)] for prompt in prompts]
    assert sample(model, prompts, **GREEDY, max_new_tokens=7, prompts_at_once=4) == expected
    assert len({tuple(each) for (each,) in expected}) > 1


def test_neighbours_in_length_are_sampled_at_once():
    lengths = [3, 30, 5, 3, 4, 9, 17]
    prompts = [[1] * length for length in lengths]
    batches = prompt_batches(prompts, Sampling(2, 6, 1.0, 0, prompts_at_once=3))
    assert [batch.lengths for batch in batches] == [[3, 3, 4], [5, 9], [17], [30]]
    assert [[lengths[place] for place in batch.places] for batch in batches] == [batch.lengths for batch in batches]
    assert steps_of(batches, Sampling(2, 6, 1.0, 0)) == (1 + 6) + (4 + 6) + 6 + 6


def test_every_step_is_told_also_those_that_an_early_end_spares():
    model, told = tiny_llama(), []
    sampling = Sampling(1, 40, 1.0, 0, prompts_at_once=4)
    batches = prompt_batches(PROMPTS, sampling)
    sample_batches(model, PROMPTS, batches, EOS, sampling, told.append)
    assert sum(told) == steps_of(batches, sampling)


def test_each_step_sees_one_token_since_the_rest_is_cached(monkeypatch):
    model, widths = tiny_llama(use_cache=False), []
    model.register_forward_pre_hook(lambda _, args, kwargs: widths.append(kwargs["input_ids"].shape), with_kwargs=True)
    sample(model, PROMPTS[:2], prompts_at_once=2, max_new_tokens=8, **GREEDY)
    assert widths[0] == (2, 3)
    assert set(widths[1:]) == {(2, 1)}


def test_what_the_model_would_generate_by_itself_does_not_count():
    model = tiny_llama()
    expected = sample(model, PROMPTS, max_new_tokens=8, **GREEDY)
    drawn = sample(model, PROMPTS)
    leaks = {"top_k": 1, "repetition_penalty": 9.0, "suppress_tokens": list(range(3, 60)), "min_new_tokens": 8}
    model.generation_config.update(**leaks, no_repeat_ngram_size=1, num_beams=3, temperature=9.0)
    assert sample(model, PROMPTS, max_new_tokens=8, **GREEDY) == expected
    assert sample(model, PROMPTS) == drawn
    assert model.generation_config.repetition_penalty == 9.0


@pytest.mark.parametrize("own", [9, [9, 11]])
def test_every_end_of_the_generation_config_ends_a_completion(own):
    model = tiny_llama()
    model.generation_config.eos_token_id = own
    ends = ending_tokens(model, EOS)
    assert ends == sorted({EOS, *([own] if isinstance(own, int) else own)})
    sampled = sample(model, [[1, 5], [9, 11, 6]], samples_per_prompt=300, prompts_at_once=2)
    last = {ids[-1] for completions in sampled for ids in completions if len(ids) < 12}
    assert last == set(ends)
    assert not any(token in ends for completions in sampled for ids in completions for token in ids[:-1])
    assert all(completions != [[]] * 300 for completions in sampled), "an end within a prompt is none"


def test_an_end_within_a_longer_prompt_does_not_end_its_row():
    model, prompts = tiny_llama(), [[1, 5], [9, 6, 7, 11, 6]]
    first = greedy(model, prompts[0], 1)
    model.generation_config.eos_token_id = [*first, 11]
    together = sample(model, prompts, prompts_at_once=2, max_new_tokens=6, **GREEDY)
    assert together == sample(model, prompts, prompts_at_once=1, max_new_tokens=6, **GREEDY)
    assert together[0] == [first]
    assert together[1][0]


def test_a_batch_has_its_own_random_numbers_whoever_samples_it():
    model, sampling = tiny_llama(), Sampling(2, 12, 1.0, 3, prompts_at_once=1)
    batches = prompt_batches(PROMPTS, sampling)
    whole = sample_batches(model, PROMPTS, batches, EOS, sampling)
    parts = [sample_batches(model, PROMPTS, batches[rank::2], EOS, sampling) for rank in (0, 1)]
    assert whole == parts[0] | parts[1]


def test_the_model_is_left_as_it_was():
    settings = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model = tiny_llama(max_position_embeddings=8, rope_parameters=settings, use_cache=False)
    model.train()
    model.model.layers[0].eval()
    rope = model.model.rotary_emb
    before, modes = rope.inv_freq.clone(), [module.training for module in model.modules()]
    random = torch.get_rng_state()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    sample(model, PROMPTS, max_new_tokens=20)
    assert torch.equal(rope.inv_freq, before), "a longer text than the model was made for makes its frequencies others"
    assert [module.training for module in model.modules()] == modes
    assert model.config.use_cache is False
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_that_does_not_generate_is_refused():
    with pytest.raises(InputError, match=r"^Linear has no method `generate` to sample with: give a model of trans"):
        sample(torch.nn.Linear(2, 2), PROMPTS)
    with pytest.raises(InputError, match=r"^a prompt without a token cannot be continued"):
        sample(tiny_llama(), [[1], []])


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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_distribution_are_refused(value: float) -> None:
    model = tiny_llama()
    model.lm_head.weight.data[3] = value
    with pytest.raises(RuntimeError, match="NaN or infinite scores"):
        sample_tokens(model, [[1, 5]], 2, samples_per_prompt=1, max_new_tokens=2, temperature=0.0, seed=0)


@pytest.mark.parametrize("top_p", [0.3, 0.7])
def test_a_share_of_the_probability_is_sampled_from_its_likeliest_tokens(top_p):
    model = tiny_llama()
    sampling = Sampling(200, 1, 1.0, 0, prompts_at_once=4, top_p=top_p)
    found = sample_batches(model, PROMPTS, prompt_batches(PROMPTS, sampling), EOS, sampling)
    for place, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            shares = model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
        order = shares.argsort(descending=True).tolist()
        nucleus = {order[count] for count in range(len(order)) if sum(shares[order[:count]]) < top_p}
        drawn = {token for (token,) in found[place]}
        assert drawn <= nucleus
        assert len(drawn) > len(nucleus) / 2
