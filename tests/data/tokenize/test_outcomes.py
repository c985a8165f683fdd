"""What becomes of a pair."""

from __future__ import annotations

import pytest

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.tokenize import Encoded, Outcome
from tests.data.tokenize.common import encode
from tests.helpers.tiny import tiny_tokenizer


@pytest.mark.parametrize(
    ("texts", "lengths", "outcome"),
    [
        (("ab", "c", "d"), {}, Outcome.KEPT),
        (("ab", "", "d"), {}, Outcome.EMPTY_COMPLETION),
        (("ab", "c", " \n"), {}, Outcome.EMPTY_COMPLETION),
        (("", "c", "d"), {}, Outcome.EMPTY_PROMPT),
        (("abcdef", "c", "d"), {"max_length": 6}, Outcome.NO_ROOM),
        (("abcdef", "c", "d"), {"max_length": 3}, Outcome.NO_ROOM),
        (("abcdef", "c", "d"), {"max_length": 6, "max_prompt_length": 5}, Outcome.KEPT),
        (("ab", "c", "c"), {}, Outcome.IDENTICAL),
        (("ab", "cde", "cdf"), {"max_length": 4}, Outcome.IDENTICAL),
        (("ab", "cde", "cdf"), {"max_length": 5}, Outcome.KEPT),
        (("ab", "c", "cd"), {"max_length": 3}, Outcome.IDENTICAL),
        # With its EOS the shorter one differs.
        (("ab", "c", "cd"), {"max_length": 4}, Outcome.KEPT),
    ],
)
def test_outcomes(texts, lengths, outcome):
    assert encode(tiny_tokenizer(), *texts, **lengths).outcome == outcome


def test_every_outcome_has_words():
    assert len({outcome.reason for outcome in Outcome}) == len(Outcome)


@pytest.mark.parametrize(
    ("completions", "repeats"), [([[3], [4], [3]], True), ([[3], [4], [5]], False), ([[3, 4], [3]], False)]
)
def test_lists_with_completions_of_the_same_tokens_are_known(completions, repeats):
    example = TokenizedExample(0, [1], completions)
    assert Encoded(example, Outcome.KEPT, truncated=False).repeats is repeats
    assert not Encoded(example, Outcome.IDENTICAL, truncated=False).repeats
    assert not Encoded(example._replace(labels=[True] * len(completions)), Outcome.KEPT, truncated=False).repeats
