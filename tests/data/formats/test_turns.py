"""Turns that rows leave to the reader: a text beside messages, and a prompt that the dialogues repeat."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.data import Example, PreferenceDataModule, RowFormat, UnpairedFormat
from dpo_lightning.data.formats.turns import answer, asked, repeats
from dpo_lightning.errors import InputError
from tests.data.common import write
from tests.helpers.tokenizers import words


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


SYSTEM, ASKED, A, B = turn("system", "s"), turn("user", "q"), turn("assistant", "a"), turn("assistant", "b")
PLAIN = Example.pair([ASKED], [A], [B])


def test_texts_as_messages():
    assert asked("q") == [ASKED] == asked([ASKED])
    assert answer("a") == [A] == answer([A])


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        ({"prompt": [ASKED], "chosen": "a", "rejected": "b"}, PLAIN),
        ({"prompt": [SYSTEM, ASKED], "chosen": "a", "rejected": "b"}, Example.pair([SYSTEM, ASKED], [A], [B])),
        ({"prompt": " q\n", "chosen": [ASKED, A], "rejected": [ASKED, B]}, PLAIN),
        ({"prompt": [turn("user", "q ")], "chosen": [ASKED, A], "rejected": [ASKED, B]}, PLAIN),
        (
            {"prompt": "q", "chosen": [SYSTEM, ASKED, A], "rejected": [SYSTEM, ASKED, B]},
            Example.pair([SYSTEM, ASKED], [A], [B]),
        ),
        (
            {"prompt": [ASKED], "chosen": [SYSTEM, ASKED, A], "rejected": [SYSTEM, ASKED, B]},
            Example.pair([SYSTEM, ASKED], [A], [B]),
        ),
        (
            {"prompt": "q", "chosen": [turn("user", "x"), A, ASKED, A], "rejected": [turn("user", "x"), A, ASKED, B]},
            Example.pair([turn("user", "x"), A, ASKED], [A], [B]),
        ),
    ],
    ids=[
        "text answers",
        "and a system turn",
        "blanks",
        "blanks in messages",
        "system",
        "system, messages",
        "last turn",
    ],
)
def test_a_prompt_is_there_once(row: dict[str, Any], pair: Example) -> None:
    assert RowFormat().parse(row) == pair


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "other", "chosen": [ASKED, A], "rejected": [ASKED, B]},
        {"prompt": "q", "chosen": [SYSTEM, ASKED, A], "rejected": [turn("system", "other"), ASKED, B]},
        {"prompt": [SYSTEM, ASKED], "chosen": [ASKED, A], "rejected": [ASKED, B]},
    ],
    ids=["another prompt", "two systems", "a system that the dialogues lack"],
)
def test_dialogues_of_another_prompt_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^field `chosen`: it begins with "):
        RowFormat().parse(row)


REPEATED = [{"prompt": "ab:", "chosen": f"ab: c{n}", "rejected": f"ab: d{n}"} for n in range(4)]


def test_a_prompt_at_the_head_of_text_completions_is_taken_off(tmp_path) -> None:
    bare = [{**row, "chosen": row["chosen"][3:], "rejected": row["rejected"][3:]} for row in REPEATED]
    read = []
    for name, rows in (("repeated", REPEATED), ("bare", bare)):
        data = PreferenceDataModule(write(tmp_path / f"{name}.jsonl", rows), words(), format=RowFormat())
        data.setup()
        read.append([(row["prompt_ids"], row["completion_ids"]) for row in data.splits["train"]])

    assert read[0] == read[1]


def test_so_it_is_of_labelled_completions() -> None:
    rows = [{"prompt": "ab:", "completion": "ab: c", "label": 1}, REPEATED[0]]
    found = UnpairedFormat().found_in(rows)

    assert [each.completions for row in rows for each in found.examples(row)] == [[" c"], [" c0", " d0"]]
    assert UnpairedFormat().found_in([{**rows[0], "completion": "c"}, rows[1]]) == UnpairedFormat()


def test_completions_that_happen_to_begin_with_the_prompt_stay() -> None:
    rows = [{"prompt": "hi", "chosen": "hi there", "rejected": "hi!"}, {"prompt": "q", "chosen": "a", "rejected": "b"}]

    assert RowFormat().found_in(rows) == RowFormat()
    assert repeats("hi", ["hi", "hi!"]) is False
    assert repeats("hi", ["", " "]) is repeats([], ["hi"]) is repeats(" ", ["hi"]) is None


def test_one_that_does_not_repeat_it_is_refused_where_the_others_do() -> None:
    found = RowFormat().found_in(REPEATED)

    assert found == RowFormat(repeats_prompt=True)
    with pytest.raises(InputError, match=r"^field `rejected`: it does not begin with the prompt"):
        found.examples({"prompt": "ab:", "chosen": "ab: c", "rejected": "d"})


def test_a_prompt_that_has_the_answer_already_is_refused() -> None:
    row = {"messages": [ASKED, A], "chosen": A["content"], "rejected": B["content"]}

    with pytest.raises(InputError, match=r"^field `messages`: its last message is the answer in `chosen`: .*Swift"):
        RowFormat("messages").examples(row)
    prefilled = RowFormat("messages").examples({**row, "chosen": "c"})[0]
    assert prefilled.prompt == [ASKED, A]


def test_another_prompt_beside_whole_dialogues_is_left_out_on_request() -> None:
    for prompt in (None, "<s>q"):
        row = {"prompt": prompt, "chosen": [ASKED, A], "rejected": [ASKED, B]}
        with pytest.raises(InputError, match=r"^field .*: for whole dialogues leave it out by data\.format\.ign"):
            RowFormat().examples(row)
        del row["prompt"]
        assert RowFormat().examples(row)[0].prompt == [ASKED]
