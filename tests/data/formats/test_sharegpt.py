"""ShareGPT's rows."""

from __future__ import annotations

import pytest

from dpo_lightning.data.formats import ShareGPTFormat
from dpo_lightning.errors import InputError
from tests.data.formats.common import assistant, said, user

ROW = {"conversations": [said("human", "q")], "chosen": said("gpt", "a"), "rejected": "b"}


def test_an_answer_is_a_message_or_text():
    (example,) = ShareGPTFormat().examples(ROW)
    assert (example.prompt, example.completions) == ([user("q")], [[assistant("a")], [assistant("b")]])


def test_an_answer_of_the_user_is_refused():
    with pytest.raises(InputError, match=r"^field `rejected`: it begins with 'user'"):
        ShareGPTFormat().examples({**ROW, "rejected": said("human", "b")})


def test_roles_of_ones_own():
    row = {**ROW, "conversations": [said("customer", "q")]}
    assert ShareGPTFormat(roles={"customer": "user"}).examples(row) == ShareGPTFormat().examples(ROW)
