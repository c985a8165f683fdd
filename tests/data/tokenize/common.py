"""Tokenizers and one call that encodes a pair, for the tests of this folder."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from dpo_lightning.data import Example, ExampleTokenizer
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.tokenize import Encoded
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import merging, prefixing, sentencepiece, words

BOS, EOS = 1, 2
A, B = (tiny_tokenizer().get_vocab()[letter] for letter in "AB")


BOS, EOS = 1, 2
A, B = (tiny_tokenizer().get_vocab()[letter] for letter in "AB")


def real(shared: Any, name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(shared / name)


TOKENIZERS = {"merging": merging, "words": words, "prefixing": prefixing, "sentencepiece": sentencepiece}


def encode(
    tokenizer: PreTrainedTokenizerBase, prompt: Any, chosen: Any, rejected: Any = " no", **lengths: Any
) -> Encoded:
    return ExampleTokenizer(tokenizer, **{"max_length": 10_000, **lengths})(Example.pair(prompt, chosen, rejected))


def longest(encoding: Encoded) -> int:
    return Lengths.of_examples([encoding.example]).longest.item()


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]
