"""Tokenised pairs -> a padded batch, against the plainest way to say the same."""

from __future__ import annotations

import random

import pytest
import torch
from torch.utils._pytree import tree_leaves

from dpo_lightning.batch import TokenizedPair
from dpo_lightning.data import collate_padded, collate_tree
from dpo_lightning.errors import InputError
from tests.helpers.tiny import PAIRS


def random_pair(rng: random.Random, pair_id: int) -> TokenizedPair:
    def tokens(most: int) -> list[int]:
        return [rng.randrange(1, 60) for _ in range(rng.randrange(1, most))]

    return TokenizedPair(pair_id, tokens(9), tokens(7), tokens(7))


def sequences(pairs: list[TokenizedPair]) -> list[tuple[list[int], list[int]]]:
    """Chosen of all pairs, then rejected of all pairs: prompt and completion."""
    return [(p.prompt_ids, p.chosen_ids) for p in pairs] + [(p.prompt_ids, p.rejected_ids) for p in pairs]


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(PAIRS, id="three"),
        pytest.param(PAIRS[:1], id="one"),
        pytest.param(
            [TokenizedPair(7, [1, 2], [3, 4], [5, 6]), TokenizedPair(9, [7, 8], [9, 10], [11, 12])], id="equal"
        ),
        pytest.param([TokenizedPair(0, [1], [2], [3])], id="shortest"),
        *[
            pytest.param([random_pair(random.Random(i), 100 + n) for n in range(i)], id=f"random {i}")
            for i in (2, 5, 9)
        ],
    ],
)
def test_a_batch_says_what_its_pairs_say(pairs):
    batch = collate_padded(pairs)
    expected = sequences(pairs)
    width = max(len(prompt) + len(completion) for prompt, completion in expected)
    assert batch.input_ids.shape == (len(expected), width)
    scored = []
    for row, (prompt, completion) in enumerate(expected):
        length = len(prompt) + len(completion)
        assert batch.input_ids[row].tolist() == prompt + completion + [0] * (width - length)
        scored += [(row * width + len(prompt) + t - 1, token, row) for t, token in enumerate(completion)]
    view = zip(batch.predict_index.tolist(), batch.targets.tolist(), batch.sequence_id.tolist(), strict=True)
    assert list(view) == scored
    assert batch.lengths.tolist() == [len(completion) for _, completion in expected]
    assert batch.pair_ids.tolist() == [pair.pair_id for pair in pairs]
    assert batch.pairs == len(pairs)


def test_every_token_is_predicted_from_the_position_before_it():
    batch = collate_padded(PAIRS)
    assert torch.equal(batch.input_ids.flatten()[batch.predict_index + 1], batch.targets)


def test_by_hand():
    batch = collate_padded([TokenizedPair(4, [5, 6], [7, 8, 9], [3])])
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9], [5, 6, 3, 0, 0]]
    assert batch.predict_index.tolist() == [1, 2, 3, 6]
    assert batch.targets.tolist() == [7, 8, 9, 3]
    assert batch.sequence_id.tolist() == [0, 0, 0, 1]
    assert batch.lengths.tolist() == [3, 1]
    assert batch.pair_ids.tolist() == [4]


def test_every_tensor_is_an_integer():
    """Lightning casts floating tensors of a batch under `bf16-true`."""
    pairs = [pair._replace(margin=0.5, probability=0.7, weight=2.0) for pair in PAIRS]

    for collate in (collate_padded, collate_tree):
        tensors = [leaf for leaf in tree_leaves(collate(pairs)) if isinstance(leaf, torch.Tensor)]
        assert len(tensors) >= 9
        assert not any(tensor.is_floating_point() for tensor in tensors)


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_columns_come_back_bit_for_bit(collate):
    values = [1 / 3, -1e-38, 3e38]
    pairs = [pair._replace(margin=value, weight=abs(value)) for pair, value in zip(PAIRS, values, strict=True)]
    columns = collate(pairs).columns.values()

    assert columns.margin.dtype == torch.float32
    assert columns.margin.tolist() == torch.tensor(values).tolist()
    assert columns.weight.tolist() == torch.tensor(values).abs().tolist()
    assert columns.probability is None
    assert collate(PAIRS).columns.values() == (None, None, None)


def test_a_tree_by_hand():
    batch = collate_tree([TokenizedPair(4, [5, 6], [7, 8, 9], [3]), TokenizedPair(6, [1], [2], [4, 5])])
    tree = batch.tree
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 3, 1, 2, 4, 5]]
    assert tree.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 0, 1, 1, 2]]
    assert tree.segments == ((2, 3, 1), (1, 1, 2))
    assert batch.targets.tolist() == [7, 8, 9, 2, 3, 4, 5]
    assert batch.predict_index.tolist() == [1, 2, 3, 6, 1, 6, 8]
    assert batch.sequence_id.tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert batch.lengths.tolist() == [3, 1, 1, 2]
    assert batch.pair_ids.tolist() == [4, 6]
    assert tree.key_index.tolist() == [0, 1, 2, 3, 4, 0, 1, 5, 6, 7, 6, 8, 9]
    assert tree.query_offsets.tolist() == [0, 5, 6, 8, 10]
    assert tree.key_offsets.tolist() == [0, 5, 8, 10, 13]


def test_a_tree_scores_what_a_padded_batch_scores():
    rng = random.Random(3)
    pairs = [random_pair(rng, number) for number in range(7)]
    tree, padded = collate_tree(pairs), collate_padded(pairs)
    for name in ("targets", "sequence_id", "lengths", "pair_ids"):
        assert torch.equal(getattr(tree, name), getattr(padded, name)), name
    assert torch.equal(tree.input_ids.flatten()[tree.predict_index], padded.input_ids.flatten()[padded.predict_index])
    assert tree.input_ids.numel() == sum(len(p.prompt_ids + p.chosen_ids + p.rejected_ids) for p in pairs)


def test_the_keys_of_a_run_are_its_sequence():
    """A run's keys are prompt and completion, its queries the last of them, at the positions 0, 1, 2, ..."""
    pairs = [random_pair(random.Random(5), number) for number in range(4)]
    batch = collate_tree(pairs)
    tree = batch.tree
    runs = [(pair.prompt_ids, completion) for pair in pairs for completion in (pair.chosen_ids, pair.rejected_ids)]
    for number, (prompt, completion) in enumerate(runs):
        keys = tree.key_index[tree.key_offsets[number] : tree.key_offsets[number + 1]]
        queries = list(range(*tree.query_offsets[number : number + 2].tolist()))
        assert batch.input_ids[0, keys].tolist() == prompt + completion
        assert tree.position_ids[0, keys].tolist() == list(range(len(keys)))
        assert keys.tolist()[-len(queries) :] == queries


ONE_SIDED = [
    TokenizedPair(4, [5, 6], [7, 8, 9], [], desirable=True),
    TokenizedPair(6, [1], [2], [4, 5], desirable=False),
]


def test_a_completion_without_tokens_has_no_padded_row():
    batch = collate_padded(ONE_SIDED)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9], [1, 2, 0, 0, 0], [1, 4, 5, 0, 0]]
    assert batch.predict_index.tolist() == [1, 2, 3, 5, 10, 11]
    assert batch.targets.tolist() == [7, 8, 9, 2, 4, 5]
    assert batch.sequence_id.tolist() == [0, 0, 0, 1, 3, 3]
    assert batch.lengths.tolist() == [3, 1, 0, 2]


def test_a_completion_without_tokens_in_a_tree():
    batch = collate_tree(ONE_SIDED)
    tree = batch.tree
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 1, 2, 4, 5]]
    assert tree.segments == ((2, 3, 0), (1, 1, 2))
    assert batch.predict_index.tolist() == [1, 2, 3, 5, 5, 7]
    assert batch.sequence_id.tolist() == [0, 0, 0, 1, 3, 3]
    assert batch.lengths.tolist() == [3, 1, 0, 2]
    assert tree.key_index.tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 7, 8]
    assert tree.query_offsets.tolist() == [0, 5, 7, 9]
    assert tree.key_offsets.tolist() == [0, 5, 7, 10]


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_labels_and_missing_completions_are_known(collate):
    assert collate(ONE_SIDED).desirable.tolist() == [True, False]
    assert collate(PAIRS).desirable is None
    assert collate(ONE_SIDED).is_one_sided
    assert not collate(ONE_SIDED[1:]).is_one_sided
    assert not collate(PAIRS).is_one_sided


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_rows_with_a_label_and_rows_without_one_are_no_batch(collate):
    with pytest.raises(InputError, match=r"^some rows of the batch have a label, others none$"):
        collate([*ONE_SIDED, *PAIRS])
