"""KL divergence against brute force, reward against a count of one's own."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.frontier.measure import estimate, kl_along, measure
from dpo_lightning.lab import true_reward
from dpo_lightning.lab.tokenizer import build_tokenizer
from dpo_lightning.policy.sampling import sample_tokens
from tests.helpers.tiny import tiny_llama

EOS, LONGEST, PROMPT = 2, 3, [1, 3]


def toy(seed: int):
    return tiny_llama(seed, vocab_size=5, initializer_range=0.8).double()


def completions(prefix=()):
    """Every completion: up to its EOS, or cut at the longest."""
    if len(prefix) == LONGEST or EOS in prefix:
        return [prefix]
    return [longer for token in range(5) for longer in completions((*prefix, token))]


def logp(model, completion) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPT, *completion]])).logits[0]
    logps = logits.double().log_softmax(-1)
    return sum(logps[len(PROMPT) + place - 1, token].item() for place, token in enumerate(completion))


def brute_kl(policy, reference) -> float:
    return sum(math.exp(logp(policy, each)) * (logp(policy, each) - logp(reference, each)) for each in completions())


def test_its_mean_is_the_divergence_between_distributions_of_completions():
    policy, reference, every = toy(0), toy(1), completions()
    weights = torch.tensor([math.exp(logp(policy, each)) for each in every])
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    divergences = kl_along(policy, reference, [(PROMPT, each) for each in every])
    assert (divergences >= 0).all()
    exact = brute_kl(policy, reference)
    assert exact > 0.5
    assert (weights * divergences).sum().item() == pytest.approx(exact, rel=1e-5)


def test_samples_estimate_it_better_than_log_ratios_do():
    policy, reference = toy(0), toy(1)
    (sampled,) = sample_tokens(
        policy, [PROMPT], EOS, samples_per_prompt=2000, max_new_tokens=LONGEST, temperature=1.0, seed=0
    )
    ours = estimate(kl_along(policy, reference, [(PROMPT, each) for each in sampled]).tolist())
    known = {each: logp(policy, each) - logp(reference, each) for each in completions()}
    plain = estimate([known[tuple(each)] for each in sampled])
    exact = brute_kl(policy, reference)
    assert abs(ours.mean - exact) < 4 * ours.error
    assert abs(plain.mean - exact) < 4 * plain.error
    assert ours.error < plain.error


def test_rows_of_several_lengths_are_those_alone():
    policy, reference = toy(0), toy(1)
    rows = [([1, 3], [4, 0, 2]), ([1], [2]), ([1, 0, 3, 4], [3, 3, 3, 3, 2])]
    together = kl_along(policy, reference, rows)
    alone = torch.cat([kl_along(policy, reference, [row]) for row in rows])
    assert torch.allclose(together, alone, rtol=1e-5)


def test_a_policy_is_measured_on_its_own_samples():
    """A word salad of a policy: its reward is that of the texts, and it does not differ from itself."""
    tokenizer = build_tokenizer()
    policy, other = (tiny_llama(seed, vocab_size=len(tokenizer)) for seed in (0, 1))
    texts = [
        "Ada met a hungry owl by the river.",
        "Ben met a cold fox on the hill.",
        "A sad wolf sat near the mill when Mia came along.",
    ]
    prompts = [tokenizer(text)["input_ids"] for text in texts]
    settings = {"samples_per_prompt": 4, "max_new_tokens": 20, "seed": 3}
    found = measure(policy, policy, tokenizer, prompts, **settings)
    assert found.kl == (0, 0)
    in_order = sorted(prompts, key=len)
    sampled = sample_tokens(policy, in_order, EOS, temperature=1.0, prompts_at_once=128, **settings)
    by_prompt = [
        estimate(
            [
                true_reward(
                    tokenizer.decode(prompt, skip_special_tokens=True), tokenizer.decode(ids, skip_special_tokens=True)
                )
                for ids in several
            ]
        ).mean
        for prompt, several in zip(in_order, sampled, strict=True)
    ]
    assert found.reward == estimate(by_prompt)
    assert found.tokens.mean == pytest.approx(sum(len(ids) for several in sampled for ids in several) / 12)
    assert measure(policy, other, tokenizer, prompts, **settings).kl.mean > 0.1


def test_an_estimate_by_hand():
    assert estimate([1.0, 2.0, 6.0]) == pytest.approx((3.0, math.sqrt(7 / 3)))
    assert math.isnan(estimate([1.0]).error)
