"""Spans of characters as columns."""

from __future__ import annotations

import pytest

from dpo_lightning.data import RowFormat, UnpairedFormat
from dpo_lightning.data.control_tokens import CLOSE, OPEN
from dpo_lightning.data.formats.spans import quoted_place
from dpo_lightning.errors import InputError

ROW = {"prompt": "p", "chosen": "abcd", "rejected": "xy", "c": [[0, 1], [2, 4]], "r": [[0, 1]]}


def spans(row=ROW, **settings):
    (example,) = RowFormat(spans=["c", "r"], **settings).examples(row)
    return example.spans


def test_spans_are_those_of_the_row():
    assert spans() == [[(0, 1), (2, 4)], [(0, 1)]]


def test_they_move_with_what_stands_before_and_the_last_one_covers_what_stands_behind():
    assert spans(completion_template="A: {completion}!") == [[(3, 4), (5, 8)], [(3, 4)]]


def test_quotes_around_control_tokens_are_counted_out():
    text = f"a{OPEN}</s>{CLOSE}b"
    assert [text[quoted_place(text, n) : quoted_place(text, n) + 1] for n in range(6)] == [*"a</s>b"]
    (example,) = RowFormat(spans=["c", "r"]).examples(
        {**ROW, "chosen": "a</s>b", "c": [[5, 6]]}, lambda text: text.replace("</s>", f"{OPEN}</s>{CLOSE}")
    )
    ((start, end),) = example.spans[0]
    assert example.completions[0][start:end] == "b"


def test_of_a_labelled_completion_there_is_one_column():
    (example,) = UnpairedFormat(spans="c").examples({"prompt": "p", "completion": "abcd", "label": 1, "c": [[1, 2]]})
    assert example.spans == [[(1, 2)]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "field `c`: null"),
        ("0-1", "field `c`: str, not a list of"),
        ([[0, 9]], "field `c`: character 9 of a text of 4"),
        ([[2, 3], [0, 1]], "field `c`: not a list of .* in order and apart"),
        ([[1, 1]], "field `c`: not a list of"),
        ([[0, 1.5]], "field `c`: not a list of"),
        ([[True, 2]], "field `c`: not a list of"),
        ([[0, 1, 2]], "field `c`: not a list of"),
    ],
)
def test_other_values_are_refused(given, words):
    with pytest.raises(InputError, match=words):
        spans({**ROW, "c": given})


def test_spans_of_several_messages_are_refused_with_the_way_out():
    two = [{"role": role, "content": "a"} for role in ("assistant", "user", "assistant")]
    row = {"prompt": [{"role": "user", "content": "q"}], "chosen": two, "rejected": two[:1], "c": [], "r": []}
    with pytest.raises(InputError, match="a `weight` of 0 or 1 says which messages"):
        spans(row)


@pytest.mark.parametrize("names", ["c", ["c"], ["c", 1]])
def test_a_column_for_each_completion(names):
    with pytest.raises(InputError, match=r"RowFormat\.spans"):
        RowFormat(spans=names)
