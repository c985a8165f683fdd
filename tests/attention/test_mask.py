"""Runs of a tree and what their queries see, by hand."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from transformers import MistralConfig
from transformers.masking_utils import (
    and_masks,
    causal_mask_function,
    chunked_causal_mask_function,
    chunked_overlay,
    create_sliding_window_causal_mask,
    sliding_window_overlay,
)

from dpo_lightning.attention.mask import Run, TreeMask
from dpo_lightning.attention.rules import Rule
from dpo_lightning.batch import TreeLayout
from tests.attention.rows import RAGGED, SHORT, causal, chunk, mask_of, tree_of, visible, window


def test_runs_by_hand() -> None:
    # P0 C0 R0 are tokens 0-4, 5-7, 8-11; P1 C1 R1 are 12-13, 14, 15; P2 C2 R2 are 16, 17-22, 23-24.
    assert mask_of(SHORT).runs == [
        Run(0, 8, (slice(0, 8),)),
        Run(8, 12, (slice(0, 5), slice(8, 12))),
        Run(12, 15, (slice(12, 15),)),
        Run(15, 16, (slice(12, 14), slice(15, 16))),
        Run(16, 23, (slice(16, 23),)),
        Run(23, 25, (slice(16, 17), slice(23, 25))),
    ]


def test_runs_of_any_number_of_branches() -> None:
    # P0 is 0-1, its branches 2, 3-5, 6; P1 is 7, its branch 8-9; P2 is 10, its branches none, 11, none.
    runs = mask_of([(2, 1, 3, 1), (1, 2), (1, 0, 1, 0)]).runs

    assert runs == [
        Run(0, 3, (slice(0, 3),)),
        Run(3, 6, (slice(0, 2), slice(3, 6))),
        Run(6, 7, (slice(0, 2), slice(6, 7))),
        Run(7, 10, (slice(7, 10),)),
        Run(10, 11, (slice(10, 11),)),
        Run(11, 12, (slice(10, 11), slice(11, 12))),
    ]
    assert [run.opens for run in runs] == [True, False, False, True, True, False]


def test_sizes_of_a_run_and_its_keys() -> None:
    run = mask_of(SHORT).runs[1]
    row = torch.arange(25.0)[:, None].expand(2, 25, 3)

    assert (run.queries, run.length) == (4, 9)
    assert run.gather(row)[1, :, 2].tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    one_slice = mask_of(SHORT).runs[0].gather(row)
    assert one_slice.untyped_storage().data_ptr() == row.untyped_storage().data_ptr()


def test_a_window_by_hand() -> None:
    mask = mask_of([(3, 2, 3)], window(3))
    chosen, rejected = mask.runs

    assert mask.visible(chosen).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]
    # Rejected tokens stand at the positions 3, 4 and 5, behind the prompt.
    assert mask.visible(rejected).int().tolist() == [[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize("rule", [causal, window(2), window(3), chunk(2), chunk(4)])
def test_runs_and_rules_together_are_the_whole_mask(rule: Rule) -> None:
    mask = mask_of(SHORT, rule)
    whole = visible(SHORT, rule)
    found = torch.zeros_like(whole)
    for run in mask.runs:
        keys = run.gather(torch.arange(len(whole))[:, None]).squeeze(1)
        found[run.start : run.end, keys] = mask.visible(run)

    assert torch.equal(found, whole)


# The longest sequences of SHORT have 9 tokens.
@pytest.mark.parametrize(
    ("rule", "is_causal"),
    [
        (causal_mask_function, True),
        (causal, True),
        (window(9), True),
        (window(8), False),
        (chunk(9), True),
        (chunk(8), False),
        (and_masks(sliding_window_overlay(9), causal_mask_function), True),
        (and_masks(sliding_window_overlay(8), causal_mask_function), False),
        (and_masks(chunked_overlay(9, torch.zeros(1)), causal_mask_function), True),
        (and_masks(chunked_overlay(8, torch.zeros(1)), causal_mask_function), False),
        (lambda _, __, query, key: key >= 0, False),
    ],
)
def test_a_rule_that_hides_nothing_is_causal(rule: Rule, is_causal: bool) -> None:
    assert mask_of(SHORT, rule).is_causal is is_causal


@pytest.mark.parametrize(
    ("rule", "reach"),
    [
        (causal_mask_function, math.inf),
        (and_masks(sliding_window_overlay(9), causal_mask_function), math.inf),
        (and_masks(sliding_window_overlay(8), causal_mask_function), 8),
    ],
)
def test_rules_that_can_be_read_are_not_evaluated(rule: Rule, reach: float, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = mask_of(SHORT, rule)
    monkeypatch.setattr(type(mask), "_evaluated", lambda *_: pytest.fail("evaluated"))

    assert mask.reach == reach
    assert mask.is_causal is (reach == math.inf)


@pytest.mark.parametrize(("causal_below", "reach"), [(0, None), (9, None), (10, math.inf)])
def test_a_chunk_that_no_sequence_fills_is_causal(causal_below: int, reach: float | None) -> None:
    """As transformers tells its own sdpa; the rule itself looks up the padding on the device."""
    rule = chunked_causal_mask_function(9, torch.zeros(1, dtype=torch.long))

    assert TreeMask(rule, tree_of(SHORT), torch.device("cuda"), causal_below).reach == reach


def test_a_rule_that_cannot_be_read_is_not_evaluated_where_that_stalls_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TreeMask, "_evaluated", lambda *_: pytest.fail("evaluated"))

    assert not TreeMask(chunk(9), tree_of(SHORT), torch.device("cuda")).is_causal


def test_what_is_derived_from_a_tree_is_derived_once_for_all_masks_of_the_batch() -> None:
    tree, calls = tree_of(SHORT), []

    def derived(tree: TreeLayout, size: int) -> int:
        calls.append(size)
        return tree.most_keys + size

    masks = [TreeMask(causal, tree, torch.device("cpu")), TreeMask(window(2), tree, torch.device("cpu"))]
    assert [mask.once(derived, size) for mask in masks for size in (1, 2)] == [10, 11, 10, 11]
    assert calls == [1, 2]
    assert mask_of(RAGGED).once(derived, 1) == mask_of(RAGGED).tree.most_keys + 1
    assert calls == [1, 2, 1]
    assert masks[0].runs is masks[1].runs


def test_a_window_of_transformers_has_its_size() -> None:
    """The window of this test file's rules is counted as transformers counts: with the token itself."""
    config = MistralConfig(sliding_window=3, num_hidden_layers=1)
    config._attn_implementation = "eager"
    embedding = torch.zeros(1, 8, 4)
    offered = {
        "config": config,
        "inputs_embeds": embedding,
        "input_embeds": embedding,  # before transformers 5
        "attention_mask": None,
        "past_key_values": None,
        "position_ids": torch.arange(8)[None],
        "cache_position": torch.arange(8),
    }
    taken = inspect.signature(create_sliding_window_causal_mask).parameters
    theirs = create_sliding_window_causal_mask(**{name: each for name, each in offered.items() if name in taken})

    assert torch.equal(theirs[0, 0] == 0, visible([(8, 0, 0)], window(3)))
