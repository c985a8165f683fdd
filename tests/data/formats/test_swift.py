"""Rows of ms-swift."""

from __future__ import annotations

import pytest

from dpo_lightning.data import Example
from dpo_lightning.data.formats import SwiftFormat
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.errors import InputError
from tests.data.formats.common import assistant, system, user

DIALOGUE = [user("q"), assistant("x"), user("r"), assistant("a")]
ROW = {"messages": DIALOGUE, "rejected_response": "b"}
PAIR = Example.pair(DIALOGUE[:3], [assistant("a")], [assistant("b")])


def test_the_last_turn_is_the_chosen_one():
    assert SwiftFormat().examples(ROW) == [PAIR]
    assert SwiftFormat().examples({**ROW, "rejected_response": assistant("b")}) == [PAIR]
    whole = {"messages": DIALOGUE, "rejected_messages": [*DIALOGUE[:3], assistant("b")], "rejected_response": None}
    assert SwiftFormat().examples(whole) == [PAIR]
    (with_system,) = read_examples(SwiftFormat(system="system"), {**ROW, "system": "s"}, str)
    assert with_system == PAIR._replace(prompt=[system("s"), *DIALOGUE[:3]])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": DIALOGUE}, "none of them has a rejected answer"),
        ({**ROW, "rejected_messages": DIALOGUE}, "each of them has a rejected answer"),
        ({**ROW, "messages": "q"}, "field `messages`: str, not a list of messages"),
        ({**ROW, "rejected_response": 3}, "field `rejected_response`: int, not text"),
        ({**ROW, "messages": DIALOGUE[:3]}, "it ends with 'user', not with an assistant message"),
    ],
)
def test_a_bad_row_is_named(row, message):
    with pytest.raises(InputError, match=message):
        SwiftFormat().examples(row)


@pytest.mark.parametrize("settings", [{"prompt": "q"}, {"input": "i"}])
def test_a_setting_that_means_nothing_is_refused(settings):
    with pytest.raises(InputError, match=r"^SwiftFormat\.(prompt|input): the prompt stands in `messages`"):
        SwiftFormat(**settings)
