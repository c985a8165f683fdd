"""The pairs that all sides get: their lengths, and two orders of the same pairs."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median

import numpy as np
import pytest

from benchmarks.profiles import (
    PROFILES,
    Lengths,
    as_lists,
    as_pairs,
    hh_pairs,
    make_examples,
    orders,
    prompts_of_step,
    random_examples,
)
from dpo_lightning import TokenizedExample
from dpo_lightning.errors import InputError


def length(pair: TokenizedExample) -> int:
    return len(pair.prompt_ids) + max(map(len, pair.completion_ids))


def padding(pairs: list[TokenizedExample], batch_pairs: int) -> int:
    batches = [pairs[start : start + batch_pairs] for start in range(0, len(pairs), batch_pairs)]
    return sum(max(map(length, batch)) * len(batch) - sum(map(length, batch)) for batch in batches)


def test_lengths_have_the_mean_and_the_median() -> None:
    drawn = Lengths(124, 96, 10**6).draw(np.random.default_rng(0), 40_000)
    assert drawn.mean() == pytest.approx(124, rel=0.03)
    assert np.median(drawn) == pytest.approx(96, rel=0.03)


@pytest.mark.parametrize("name", [*PROFILES, "fixed-256"])
def test_random_examples_fit(name: str) -> None:
    pairs = random_examples(name, 300, vocab_size=50, max_length=400)
    assert max(map(length, pairs)) <= 400
    parts = [ids for pair in pairs for ids in (pair.prompt_ids, *pair.branches)]
    assert len(parts) == (5 if name == "four" else 3) * 300
    assert min(map(len, parts)) >= 1
    assert {token for ids in parts for token in ids} == set(range(50))


def test_a_fixed_profile_has_one_length() -> None:
    assert {length(pair) for pair in random_examples("fixed-64", 20, vocab_size=50, max_length=400)} == {64}


def test_the_standin_has_the_lengths_of_hh(shared: Path) -> None:
    real, drawn = hh_pairs(shared, 2000, 1024), random_examples("hh", 2000, 50_257, 1024)
    for part in range(3):
        ours, theirs = ([len([pair.prompt_ids, *pair.branches][part]) for pair in pairs] for pairs in (drawn, real))
        assert mean(ours) == pytest.approx(mean(theirs), rel=0.15)
        assert median(ours) == pytest.approx(median(theirs), rel=0.15)


def test_without_the_folder_hh_is_generated(tmp_path: Path) -> None:
    source, pairs = make_examples("hh", 3, 2, vocab_size=50_257, max_length=64, shared=tmp_path)
    assert source == "random ids"
    assert len(pairs) == 64 * 2


def test_both_orders_hold_the_same_pairs_after_the_same_warmup() -> None:
    pool = random_examples("hh", 256, vocab_size=50, max_length=1024)
    order = orders(pool, warmup=2, steps=6, batch=4)
    shuffled, grouped = order["shuffled"], order["grouped"]
    assert shuffled[:8] == grouped[:8]
    assert sorted(shuffled) == sorted(grouped)
    assert len({pair.row for pair in grouped}) == 8 * 4
    assert padding(grouped, 4) < padding(shuffled, 4) / 4


def test_few_steps_have_the_lengths_of_the_pool() -> None:
    pool = random_examples("hh", 512, vocab_size=50, max_length=1024)
    chosen = orders(pool, warmup=2, steps=6, batch=8)["grouped"]
    assert mean(map(length, chosen)) == pytest.approx(mean(map(length, pool)), rel=0.1)


def test_too_few_pairs_are_named() -> None:
    with pytest.raises(InputError, match="7 prompts are too few for 4 steps of 2"):
        orders(random_examples("hh", 7, 50, 64), warmup=1, steps=3, batch=2)


def test_four_completions_are_one_list_or_six_pairs() -> None:
    example = TokenizedExample(7, [1], [[2], [3, 4], [5], [6]])
    (listed,) = as_lists([example])
    assert listed == example._replace(columns={"score": [0.0, -1.0, -2.0, -3.0]})
    chosen_rejected = [([2], [3, 4]), ([2], [5]), ([2], [6]), ([3, 4], [5]), ([3, 4], [6]), ([5], [6])]
    assert as_pairs([example]) == [TokenizedExample.pair(7, [1], *each) for each in chosen_rejected]
    assert (prompts_of_step("four", 12), prompts_of_step("hh", 12)) == (2, 12)
    with pytest.raises(InputError, match=r"^profile four has 6 pairs of a prompt: give a multiple .*, not 8$"):
        prompts_of_step("four", 8)
