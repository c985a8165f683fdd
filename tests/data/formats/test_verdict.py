"""Which of two completions a value says is better."""

from __future__ import annotations

import pytest

from dpo_lightning.data.formats.verdict import Better, Verdicts
from dpo_lightning.errors import InputError

WORDS = Verdicts({"a": Better.FIRST, "1": Better.SECOND, "true": Better.FIRST, "null": Better.TIE})
SIGNS = Verdicts({}, 0, -3, 3)


@pytest.mark.parametrize(
    ("value", "better"),
    [(" A", "first"), (1, "second"), (1.0, "second"), ("1", "second"), (True, "first"), (None, "tie")],
)
def test_words(value, better):
    assert WORDS.of(value, "x") is Better(better)


@pytest.mark.parametrize(
    ("value", "better"), [(-3, "first"), ("-0.1", "first"), (0, "tie"), (0.0, "tie"), (3, "second")]
)
def test_numbers(value, better):
    assert SIGNS.of(value, "x") is Better(better)


@pytest.mark.parametrize("value", [-4, 3.5, True, None, "b", float("nan"), []])
def test_what_says_nothing(value):
    with pytest.raises(InputError, match=r"^field `w`: .* does not say which completion is better: known are numb"):
        SIGNS.of(value, "field `w`")
