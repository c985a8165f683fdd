"""Texts of sampled tokens, as they continue what stands before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BEFORE = "a"


def completion_texts(tokenizer: Any, completions: Sequence[Sequence[int]]) -> list[str]:
    """Return the texts of completions as they continue a text, without special tokens.

    Of tokens alone a SentencePiece tokenizer, such as Llama 2's, leaves the first space out: `▁a` behind `saw` would be
    `sawa`. So each is decoded behind a letter, which is taken away again.

    Args:
        tokenizer: A Hugging Face tokenizer.
        completions: Token ids of each.
    """
    before = list(tokenizer(_BEFORE, add_special_tokens=False)["input_ids"])
    rows = [before, *([*before, *ids] for ids in completions)]
    head, *whole = tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [text.removeprefix(head) for text in whole]
