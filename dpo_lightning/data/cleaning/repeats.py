"""Examples that say the same, or the opposite, as another one: exactly."""

from __future__ import annotations

import numpy as np

from dpo_lightning.data.cleaning.sequences import Sequences
from dpo_lightning.data.cleaning.tokens import ExampleTokens


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """Return for each key the place where it first stands, `[keys]`."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first[which]


def duplicates(tokens: ExampleTokens) -> np.ndarray:
    """Return for each example the first one that is equal to it, `[examples]`: itself where there is none before it."""
    return first_of_each(tokens.example_keys)


def contradictory(tokens: ExampleTokens) -> np.ndarray:
    """Return which examples have an opposite, `[examples]` bool.

    Of pairs, the same prompt with the sides swapped; of labelled completions, the same with the other label. Lists of
    more than two completions have none: two orders of the same list agree on most of its pairs.
    """
    if tokens.labels is not None:
        both = np.intersect1d(tokens.answers[tokens.labels], tokens.answers[~tokens.labels])
        return _with_any(tokens, np.isin(tokens.answers, both))
    found = np.zeros(len(tokens), dtype=bool)
    pairs = np.flatnonzero(tokens.counts == 2)
    chosen, rejected = (tokens.answers[tokens.starts[pairs] + side] for side in (0, 1))
    there, back = _pair_keys(chosen, rejected), _pair_keys(rejected, chosen)
    found[pairs] = (chosen != rejected) & np.isin(there, back)
    return found


def _pair_keys(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return Sequences(np.stack([first, second], 1).ravel(), np.arange(len(first) + 1) * 2).hashes()


def shared_with(tokens: ExampleTokens, others: ExampleTokens) -> np.ndarray:
    """Return which examples have a prompt and a completion that one of the others has too, `[examples]` bool."""
    return _with_any(tokens, np.isin(tokens.answers, others.answers))


def _with_any(tokens: ExampleTokens, completions: np.ndarray) -> np.ndarray:
    """Return which examples have one of the completions, `[examples]` bool."""
    found = np.zeros(len(tokens), dtype=bool)
    found[tokens.example_of[completions]] = True
    return found
