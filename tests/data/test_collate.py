"""Tokenised pairs -> a padded batch, against the plainest way to say the same."""

from __future__ import annotations

import random

import pytest
import torch

from dpo_lightning.batch import TokenizedPair
from dpo_lightning.data import collate_padded
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


def test_every_tensor_is_int64():
    assert {tensor.dtype for tensor in collate_padded(PAIRS)} == {torch.int64}
