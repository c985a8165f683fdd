"""Examples in memory as arrays of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from dpo_lightning.data.cleaning import ExampleTokens
from dpo_lightning.data.cleaning.sequences import Sequences

Pair = tuple[list[int], list[int], list[int]]


def pairs(*examples: Pair) -> ExampleTokens:
    return tokens([(prompt, [chosen, rejected]) for prompt, chosen, rejected in examples])


def tokens(examples: list[tuple[list[int], list[list[int]]]], labels: Any = None) -> ExampleTokens:
    return ExampleTokens(
        np.arange(len(examples)) * 10,  # rows of the source, of which some gave nothing
        Sequences.of(np.array(prompt, dtype=np.int64) for prompt, _ in examples),
        Sequences.of(np.array(each, dtype=np.int64) for _, completions in examples for each in completions),
        np.array([len(completions) for _, completions in examples], dtype=np.int64),
        None if labels is None else np.array(labels),
    )
