"""Pairs -> token ids within the lengths that a run allows."""

from __future__ import annotations

import random

import pytest

from dpo_lightning.data import Example, ExampleTokenizer
from dpo_lightning.data.tokenize import Outcome
from dpo_lightning.errors import InputError
from tests.data.tokenize.common import BOS, EOS, A, encode, ids, longest
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import (
    CORPUS,
    sentencepiece,
    with_bos,
)


@pytest.mark.parametrize("lengths", [{"max_length": 0}, {"max_length": 5, "max_prompt_length": -1}])
def test_lengths_below_one_are_refused(lengths):
    with pytest.raises(InputError, match=rf"data.{list(lengths)[-1]} must be at least 1"):
        ExampleTokenizer(tiny_tokenizer(), **lengths)


# Truncation


def test_a_prompt_keeps_its_bos_and_its_end():
    encoding = encode(with_bos(tiny_tokenizer()), "abcdef", "gh", "i", max_prompt_length=4)
    assert encoding.example.prompt_ids == [BOS, *ids(tiny_tokenizer(), "def")]
    assert encoding.truncated
    assert encoding.outcome == Outcome.KEPT
    assert encoding.example.completion_ids[0] == [*ids(tiny_tokenizer(), "gh"), EOS], "completions are not touched"


def test_a_prompt_without_bos_keeps_its_end():
    encoding = encode(tiny_tokenizer(), "abcdef", "gh", "i", max_prompt_length=4)
    assert encoding.example.prompt_ids == ids(tiny_tokenizer(), "cdef")


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_too_short_for_what_opens_the_prompt_is_kept_all_the_same(limit):
    encoding = encode(with_bos(tiny_tokenizer(), "<s>", "A"), "abcdef", "gh", "i", max_prompt_length=limit)
    assert encoding.example.prompt_ids == [BOS, A][:limit]


def test_a_prompt_of_exactly_the_limit_is_whole():
    encoding = encode(with_bos(tiny_tokenizer()), "abc", "gh", "i", max_prompt_length=4)
    assert encoding.example.prompt_ids == [BOS, *ids(tiny_tokenizer(), "abc")]
    assert not encoding.truncated


def test_completions_keep_their_start_and_lose_their_eos():
    encoding = encode(tiny_tokenizer(), "abc", "defgh", "ij", max_length=6)
    assert encoding.example.prompt_ids == ids(tiny_tokenizer(), "abc")
    assert encoding.example.completion_ids[0] == ids(tiny_tokenizer(), "def")
    assert encoding.example.completion_ids[1] == [*ids(tiny_tokenizer(), "ij"), EOS]
    assert encoding.truncated
    assert longest(encoding) == 6


def test_a_pair_that_fits_exactly_is_whole():
    encoding = encode(tiny_tokenizer(), "abc", "de", "ij", max_length=6)
    assert encoding.example.completion_ids[0][-1] == EOS
    assert not encoding.truncated


def test_no_truncation_leaves_more_than_the_limits():
    rng = random.Random(0)
    for _ in range(300):
        texts = ["".join(rng.choices("abc xyz", k=rng.randrange(12))) for _ in range(3)]
        lengths = {"max_length": rng.randrange(1, 20), "max_prompt_length": rng.choice([None, rng.randrange(1, 12)])}
        tokenizer = rng.choice([tiny_tokenizer(), with_bos(tiny_tokenizer())])
        whole, cut = encode(tokenizer, *texts), encode(tokenizer, *texts, **lengths)
        prompt_ids = cut.example.prompt_ids
        assert len(prompt_ids) <= (lengths["max_prompt_length"] or 100)
        assert cut.truncated == (cut.example != whole.example)
        for kept, uncut in zip(cut.example.completion_ids, whole.example.completion_ids, strict=True):
            assert kept == uncut[: len(kept)]
            assert not kept or len(prompt_ids) + len(kept) <= lengths["max_length"]


def test_many_pairs_at_once_are_each_as_alone():
    tokenizer = ExampleTokenizer(sentencepiece(), 30, 12)
    pairs = [Example.pair(a, b, c) for a in CORPUS for b in CORPUS for c in (" x", b)]
    assert tokenizer.encode([tokenizer.render(pair, 0) for pair in pairs]) == [tokenizer(pair) for pair in pairs]


def test_a_long_text_is_not_warned_about_before_it_is_cut(caplog):
    encoding = encode(tiny_tokenizer(model_max_length=5), "a" * 20, "b" * 20, "c", max_length=25)
    assert longest(encoding) == 25
    assert "longer than the specified maximum" not in caplog.text
