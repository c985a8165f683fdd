"""Tokenised examples -> a batch, against the plainest way to say the same."""

from __future__ import annotations

import pickle
import random

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.plugins import HalfPrecision
from torch.utils._pytree import tree_leaves
from torch.utils.data._utils.pin_memory import pin_memory

from dpo_lightning.batch import PreferenceBatch, TokenizedExample, first_completions, sequence_order
from dpo_lightning.data import collate_padded, collate_tree
from dpo_lightning.errors import InputError
from tests.helpers.tiny import PAIRS


def random_pair(rng: random.Random, row: int) -> TokenizedExample:
    def tokens(most: int) -> list[int]:
        return [rng.randrange(1, 60) for _ in range(rng.randrange(1, most))]

    return TokenizedExample.pair(row, tokens(9), tokens(7), tokens(7))


def test_tokens_that_do_not_count_are_read_and_not_scored():
    rng = random.Random(0)
    pairs = [random_pair(rng, n) for n in range(6)]
    some = [
        each._replace(scored=[[n == 0 or rng.random() < 0.5 for n in range(len(ids))] for ids in each.completion_ids])
        for each in pairs
    ]
    for collate in (collate_padded, collate_tree):
        whole, masked = collate(pairs), collate(some)
        keep = torch.tensor([counts for k in range(2) for each in some for counts in each.scored[k]])
        assert torch.equal(whole.input_ids, masked.input_ids)
        for name in ("predict_index", "targets", "sequence_id"):
            assert torch.equal(getattr(whole, name)[keep], getattr(masked, name))
        assert masked.lengths.tolist() == [sum(each.scored[k]) for k in range(2) for each in some]


@pytest.mark.parametrize(
    ("scored", "words"),
    [
        ([[True]], "it must say of each token of each completion"),
        ([[True], [True, False]], "it must say of each token of each completion"),
        ([[True, False], [False]], "no token of completion 1 .from 0. counts"),
    ],
)
def test_a_mask_that_fits_no_completion_is_refused(scored, words):
    with pytest.raises(InputError, match=words):
        collate_tree([TokenizedExample.pair(0, [1], [2, 3], [4])._replace(scored=scored)])


def sequences(pairs: list[TokenizedExample]) -> list[tuple[list[int], list[int]]]:
    """Chosen of all pairs, then rejected of all pairs: prompt and completion."""
    return [(pair.prompt_ids, pair.completion_ids[k]) for k in range(2) for pair in pairs]


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(PAIRS, id="three"),
        pytest.param(PAIRS[:1], id="one"),
        pytest.param(
            [TokenizedExample.pair(7, [1, 2], [3, 4], [5, 6]), TokenizedExample.pair(9, [7, 8], [9, 10], [11, 12])],
            id="equal",
        ),
        pytest.param([TokenizedExample.pair(0, [1], [2], [3])], id="shortest"),
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
    assert batch.row_ids.tolist() == [pair.row for pair in pairs]
    assert batch.examples == len(pairs)


def test_every_token_is_predicted_from_the_position_before_it():
    batch = collate_padded(PAIRS)
    assert torch.equal(batch.input_ids.flatten()[batch.predict_index + 1], batch.targets)


def test_by_hand():
    batch = collate_padded([TokenizedExample.pair(4, [5, 6], [7, 8, 9], [3])])
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9], [5, 6, 3, 0, 0]]
    assert batch.predict_index.tolist() == [1, 2, 3, 6]
    assert batch.targets.tolist() == [7, 8, 9, 3]
    assert batch.sequence_id.tolist() == [0, 0, 0, 1]
    assert batch.lengths.tolist() == [3, 1]
    assert batch.row_ids.tolist() == [4]


def test_every_tensor_is_an_integer():
    """Lightning casts floating tensors of a batch under `bf16-true`."""
    pairs = [pair._replace(columns={"margin": 0.5, "probability": 0.7, "weight": 2.0}) for pair in PAIRS]

    for collate in (collate_padded, collate_tree):
        tensors = [leaf for leaf in tree_leaves(collate(pairs)) if isinstance(leaf, torch.Tensor)]
        assert len(tensors) >= 9
        assert not any(tensor.is_floating_point() for tensor in tensors)


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_columns_come_back_bit_for_bit(collate):
    values = [1 / 3, -1e-38, 3e38]
    named = [{"margin": value, "weight": abs(value)} for value in values]
    columns = collate([pair._replace(columns=each) for pair, each in zip(PAIRS, named, strict=True)]).columns

    assert columns["margin"].dtype == torch.float32
    assert columns["margin"].tolist() == torch.tensor(values).tolist()
    assert columns["weight"].tolist() == torch.tensor(values).abs().tolist()
    assert [*columns] == ["margin", "weight"]
    assert collate(PAIRS).columns == {}


def test_a_tree_by_hand():
    batch = collate_tree([TokenizedExample.pair(4, [5, 6], [7, 8, 9], [3]), TokenizedExample.pair(6, [1], [2], [4, 5])])
    tree = batch.tree
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 3, 1, 2, 4, 5]]
    assert tree.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 0, 1, 1, 2]]
    assert tree.segments == ((2, (3, 1)), (1, (1, 2)))
    assert batch.targets.tolist() == [7, 8, 9, 2, 3, 4, 5]
    assert batch.predict_index.tolist() == [1, 2, 3, 6, 1, 6, 8]
    assert batch.sequence_id.tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert batch.lengths.tolist() == [3, 1, 1, 2]
    assert batch.row_ids.tolist() == [4, 6]
    assert tree.key_index.tolist() == [0, 1, 2, 3, 4, 0, 1, 5, 6, 7, 6, 8, 9]
    assert tree.query_offsets.tolist() == [0, 5, 6, 8, 10]
    assert tree.key_offsets.tolist() == [0, 5, 8, 10, 13]
    assert (tree.most_queries, tree.most_keys) == (5, 5)


def test_a_tree_scores_what_a_padded_batch_scores():
    rng = random.Random(3)
    pairs = [random_pair(rng, number) for number in range(7)]
    tree, padded = collate_tree(pairs), collate_padded(pairs)
    for name in ("targets", "sequence_id", "lengths", "row_ids"):
        assert torch.equal(getattr(tree, name), getattr(padded, name)), name
    assert torch.equal(tree.input_ids.flatten()[tree.predict_index], padded.input_ids.flatten()[padded.predict_index])
    assert tree.input_ids.numel() == sum(len(sum(pair.branches, pair.prompt_ids)) for pair in pairs)


def test_the_keys_of_a_run_are_its_sequence():
    """A run's keys are prompt and completion, its queries the last of them, at the positions 0, 1, 2, ..."""
    pairs = [random_pair(random.Random(5), number) for number in range(4)]
    batch = collate_tree(pairs)
    tree = batch.tree
    runs = [(pair.prompt_ids, completion) for pair in pairs for completion in pair.completion_ids]
    for number, (prompt, completion) in enumerate(runs):
        keys = tree.key_index[tree.key_offsets[number] : tree.key_offsets[number + 1]]
        queries = list(range(*tree.query_offsets[number : number + 2].tolist()))
        assert batch.input_ids[0, keys].tolist() == prompt + completion
        assert tree.position_ids[0, keys].tolist() == list(range(len(keys)))
        assert keys.tolist()[-len(queries) :] == queries
    assert tree.most_queries == tree.query_offsets.diff().max().item()
    assert tree.most_keys == tree.key_offsets.diff().max().item()


def test_the_run_with_most_keys_need_not_have_most_queries():
    tree = collate_tree([TokenizedExample.pair(0, [1, 2], [3], [4, 5, 6, 7])]).tree
    assert (tree.most_queries, tree.most_keys) == (4, 6)


LABELLED = [TokenizedExample.labelled(4, [5, 6], [7, 8], True, [3]), TokenizedExample.labelled(6, [1], [2], False)]
ONE_SIDED = [
    TokenizedExample.pair(4, [5, 6], [7, 8, 9], []),
    TokenizedExample.pair(6, [1], [2], [4, 5]),
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
    assert tree.segments == ((2, (3, 0)), (1, (1, 2)))
    assert batch.predict_index.tolist() == [1, 2, 3, 5, 5, 7]
    assert batch.sequence_id.tolist() == [0, 0, 0, 1, 3, 3]
    assert batch.lengths.tolist() == [3, 1, 0, 2]
    assert tree.key_index.tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 7, 8]
    assert tree.query_offsets.tolist() == [0, 5, 7, 9]
    assert tree.key_offsets.tolist() == [0, 5, 7, 10]


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_labels_and_missing_completions_are_known(collate):
    assert collate(LABELLED).labels.tolist() == [True, False]
    more = LABELLED[0]._replace(completion_ids=[[7, 8], [9]], labels=[True, False])
    assert collate([more, LABELLED[0]]).labels.tolist() == [True, True, False]
    assert first_completions(collate, 1)([more]).labels.tolist() == [True]
    assert collate(PAIRS).labels is None
    assert not collate(LABELLED).has_empty_completion
    assert collate(ONE_SIDED).has_empty_completion
    assert not collate(ONE_SIDED[1:]).has_empty_completion
    assert not collate(PAIRS).has_empty_completion


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_rows_with_a_label_and_rows_without_one_are_no_batch(collate):
    with pytest.raises(InputError, match=r"^some rows of the batch have a label, others none$"):
        collate([*LABELLED, *PAIRS])


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_rows_with_a_number_and_rows_without_one_are_no_batch(collate):
    with pytest.raises(InputError, match=r"^some rows of the batch have a weight, others none$"):
        collate([PAIRS[0]._replace(columns={"weight": 1.0}), *PAIRS[1:]])


# Any number of completions

RAGGED = [
    TokenizedExample(4, [5, 6], [[7, 8], [9], [10, 11]]),
    TokenizedExample(6, [1], [[2]]),
    TokenizedExample(7, [3, 4], [[12], [13, 14]]),
]


def test_a_ragged_tree_by_hand():
    """The first completions of all, then the second ones of those that have one, then the third."""
    batch = collate_tree(RAGGED)
    tree = batch.tree
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 10, 11, 1, 2, 3, 4, 12, 13, 14]]
    assert tree.position_ids.tolist() == [[0, 1, 2, 3, 2, 2, 3, 0, 1, 0, 1, 2, 2, 3]]
    assert tree.segments == ((2, (2, 1, 2)), (1, (1,)), (2, (1, 2)))
    assert batch.example_of_sequence.tolist() == [0, 1, 2, 0, 2, 0]
    assert batch.completions == (3, 1, 2)
    assert batch.mismatched == 0
    assert batch.targets.tolist() == [7, 8, 2, 12, 9, 13, 14, 10, 11]
    assert batch.predict_index.tolist() == [1, 2, 7, 10, 1, 10, 12, 1, 5]
    assert batch.sequence_id.tolist() == [0, 0, 1, 2, 3, 4, 4, 5, 5]
    assert batch.lengths.tolist() == [2, 1, 1, 1, 2, 2]
    assert tree.key_index.tolist() == [0, 1, 2, 3, 0, 1, 4, 0, 1, 5, 6, 7, 8, 9, 10, 11, 9, 10, 12, 13]
    assert tree.query_offsets.tolist() == [0, 4, 5, 7, 9, 12, 14]
    assert (tree.most_queries, tree.most_keys) == (4, 4)
    assert tree.key_offsets.tolist() == [0, 4, 7, 11, 13, 16, 20]


def test_ragged_padded_rows_by_hand():
    batch = collate_padded(RAGGED)
    assert batch.input_ids.tolist() == [
        [5, 6, 7, 8],
        [1, 2, 0, 0],
        [3, 4, 12, 0],
        [5, 6, 9, 0],
        [3, 4, 13, 14],
        [5, 6, 10, 11],
    ]
    assert batch.predict_index.tolist() == [1, 2, 4, 9, 13, 17, 18, 21, 22]
    for name in ("targets", "sequence_id", "lengths", "example_of_sequence", "row_ids"):
        assert torch.equal(getattr(batch, name), getattr(collate_tree(RAGGED), name)), name
    assert batch.completions == (3, 1, 2)


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_mismatched_completions_stand_at_the_end(collate):
    batch = collate(LABELLED)
    assert batch.targets.tolist() == [7, 8, 2, 3]
    assert batch.example_of_sequence.tolist() == [0, 1, 0]
    assert batch.completions == (1, 1)
    assert batch.mismatched == 1


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_first_completions_are_all_that_is_computed(collate):
    found = first_completions(collate, 1)(RAGGED)
    expected = collate([each._replace(completion_ids=each.completion_ids[:1]) for each in RAGGED])

    assert found.completions == (1, 1, 1)
    assert torch.equal(found.input_ids, expected.input_ids)
    assert torch.equal(found.predict_index, expected.predict_index)
    assert first_completions(collate, 1)(LABELLED).mismatched == 0
    assert first_completions(collate, None) is collate
    pickle.loads(pickle.dumps(first_completions(collate, 1)))


# What the data says of each example, and of each of its completions

SCORED = [
    RAGGED[0]._replace(columns={"score": [1 / 3, 0.1, -1e-38], "weight": 0.3, "source": "web"}),
    RAGGED[1]._replace(columns={"score": (3e38,), "weight": 2.0, "source": "books"}),
    RAGGED[2]._replace(columns={"score": [0.7, 5], "weight": 1, "source": ""}),
]


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_numbers_of_completions_stand_in_the_order_of_sequences_bit_for_bit(collate):
    batch = collate(SCORED)
    expected = [SCORED[example].columns["score"][k] for example, k in sequence_order(SCORED)]

    assert batch.columns["score"].tolist() == torch.tensor(expected, dtype=torch.float32).tolist()
    assert expected == [1 / 3, 3e38, 0.7, 0.1, 5, -1e-38]
    assert batch.column_bits["score"].dtype == torch.int32
    assert batch.columns["weight"].tolist() == torch.tensor([0.3, 2.0, 1.0]).tolist()


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_a_mismatched_completion_has_no_number(collate):
    batch = collate([each._replace(columns={"score": [float(each.row)]}) for each in LABELLED])

    assert batch.mismatched == 1
    assert batch.columns["score"].tolist() == [4.0, 6.0]


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_first_completions_have_their_numbers(collate):
    batch = first_completions(collate, 2)(SCORED)

    assert batch.columns["score"].tolist() == torch.tensor([1 / 3, 3e38, 0.7, 0.1, 5]).tolist()
    assert batch.columns["weight"].shape == (3,)
    assert batch.texts == {"source": ("web", "books", "")}


@pytest.mark.parametrize("collate", [collate_padded, collate_tree])
def test_texts_stay_on_the_host(collate):
    batch = collate(SCORED)

    assert batch.texts == {"source": ("web", "books", "")}
    assert "source" not in batch.columns
    assert collate(RAGGED).texts == {}


def test_a_batch_that_is_moved_cast_or_pinned_keeps_its_texts(monkeypatch):
    batch = collate_tree(SCORED)
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)  # without a device there is nothing to pin for
    half = HalfPrecision("bf16-true").convert_input(batch)

    for other in (move_data_to_device(batch, torch.device("meta")), half, pin_memory(batch)):
        assert isinstance(other, PreferenceBatch)
        assert other.texts == batch.texts
        assert {type(texts) for texts in other.texts.values()} == {tuple}
    assert half.columns["score"].tolist() == batch.columns["score"].tolist()
