"""What is read from a rule, against the table of what it makes visible."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.masking_utils import (
    add_offsets_to_mask_function,
    and_masks,
    causal_mask_function,
    chunked_causal_mask_function,
    chunked_overlay,
    or_masks,
    packed_sequence_mask_function,
    padding_mask_function,
    sliding_window_causal_mask_function,
    sliding_window_overlay,
)

from dpo_lightning.attention.rules import Rule, reach_of
from tests.attention.mask_functions import both_ways, remapped, window_both_ways, within_groups

LENGTH = 12


def table(rule: Rule, length: int = LENGTH) -> Tensor:
    zero, places = torch.tensor(0), torch.arange(length)
    return rule(zero, zero, places[:, None], places[None, :]).expand(length, length)


def causal_window(reach: float, length: int = LENGTH) -> Tensor:
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return (distance >= 0) & (distance < reach)


@pytest.mark.parametrize(
    ("rule", "reach"),
    [
        (causal_mask_function, math.inf),
        (sliding_window_causal_mask_function(1), 1),
        (sliding_window_causal_mask_function(4096), 4096),
        (and_masks(causal_mask_function, sliding_window_overlay(5), sliding_window_overlay(3)), 3),
        (add_offsets_to_mask_function(sliding_window_causal_mask_function(4), 7, 7), 4),
        (lambda _, __, query, key: (query - key < 6) & (query >= key), 6),
        (lambda _, __, query, key: (-key + query >= 0) & (query < 3 + key), 3),
    ],
)
def test_causal_rules_and_windows_are_read(rule: Rule, reach: float) -> None:
    assert reach_of(rule) == reach
    assert torch.equal(table(rule), causal_window(reach))


def hides_one_key(_: Any, __: Any, query: Any, key: Any) -> Any:
    return (key <= query) & ((query != 7) | (key != 2))


def causal_up_to_a_length(_: Any, __: Any, query: Any, key: Any) -> Any:
    return (key <= query) & (key <= 9)


def asks_for_a_value(_: Any, __: Any, query: Any, key: Any) -> Any:
    return (key <= query) if (query != key).any() else key < 0


OTHERS: dict[str, Rule] = {
    "all": both_ways,
    "a window to both sides": window_both_ways(3),
    "a window without causality": sliding_window_overlay(3),
    "chunks": chunked_causal_mask_function(5, torch.zeros(1, dtype=torch.long)),
    "one chunk": chunked_causal_mask_function(LENGTH, torch.zeros(1, dtype=torch.long)),
    "padding": and_masks(causal_mask_function, padding_mask_function(torch.ones(1, LENGTH, dtype=torch.bool))),
    "packed": and_masks(
        packed_sequence_mask_function(torch.arange(LENGTH)[None] // 5),
        remapped(causal_mask_function, torch.arange(LENGTH)[None] % 5),
    ),
    "an image": or_masks(causal_mask_function, within_groups((torch.arange(LENGTH) // 4)[None])),
    "a constant": lambda *_: torch.tensor(True),
    "and a constant": and_masks(causal_mask_function, lambda *_: torch.tensor(True)),
    "one key hidden": hides_one_key,
    "the last keys hidden": causal_up_to_a_length,
    "a window of nothing": sliding_window_causal_mask_function(0),
    "all before": lambda _, __, query, key: key < query,
    "one ahead": lambda _, __, query, key: key <= query + 1,
    "strides": lambda _, __, query, key: (key <= query) & ((query - key) % 2 == 0),
    "twice as far": lambda _, __, query, key: 2 * key <= query,
    "of sums": lambda _, __, query, key: query + key >= 0,
    "a branch": lambda _, __, query, key: key <= query if query - key < 5 else key < 0,
    "a value": asks_for_a_value,
    "negated": lambda _, __, query, key: ~(key > query),
    "by heads": lambda _, head, query, key: (key <= query) & (head >= 0),
}


@pytest.mark.parametrize("rule", OTHERS.values(), ids=OTHERS)
def test_nothing_is_read_from_other_rules(rule: Rule) -> None:
    assert reach_of(rule) is None


def drawn(rng: random.Random, depth: int = 0) -> Rule:
    """One of the rules that transformers' functions make of each other."""
    pads = torch.tensor([rng.choice([0, 0, 1, 3])])
    groups = torch.tensor([[rng.randrange(-1, 3) for _ in range(2 * LENGTH)]])
    positions = torch.arange(2 * LENGTH)[None] % rng.choice([5, 24])
    simple: list[Callable[[], Rule]] = [
        lambda: causal_mask_function,
        lambda: causal_mask_function,
        lambda: both_ways,
        lambda: sliding_window_overlay(rng.randrange(-1, LENGTH + 2)),
        lambda: sliding_window_causal_mask_function(rng.randrange(-1, LENGTH + 2)),
        lambda: window_both_ways(rng.randrange(LENGTH)),
        lambda: chunked_overlay(rng.randrange(1, LENGTH + 2), pads),
        lambda: padding_mask_function(torch.rand(1, 2 * LENGTH) < 0.9),
        lambda: packed_sequence_mask_function(groups),
        lambda: within_groups(groups),
    ]
    made: list[Callable[[], Rule]] = [
        lambda: and_masks(drawn(rng, depth + 1), drawn(rng, depth + 1)),
        lambda: and_masks(drawn(rng, depth + 1), drawn(rng, depth + 1)),
        lambda: or_masks(drawn(rng, depth + 1), drawn(rng, depth + 1)),
        lambda: remapped(drawn(rng, depth + 1), positions),
        lambda: add_offsets_to_mask_function(drawn(rng, depth + 1), rng.randrange(3), rng.randrange(3)),
    ]
    return rng.choice(simple if depth == 3 or rng.random() < 0.3 else made)()


def test_what_is_read_is_what_the_table_says() -> None:
    """For random rules: never a window that is none, and never a window of another size."""
    rng = random.Random(0)
    read = 0
    for _ in range(600):
        rule = drawn(rng)
        reach = reach_of(rule)
        if reach is not None:
            read += 1
            assert torch.equal(table(rule), causal_window(reach))

    assert 40 < read < 500
