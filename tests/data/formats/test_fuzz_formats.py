"""Rows of every format with faults in them: each is kept, dropped for a counted reason, or refused in one line."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from dpo_lightning.data import ExampleTokenizer, PreferenceDataModule
from dpo_lightning.data.formats import NoPreference
from dpo_lightning.data.formats.found import find_format
from dpo_lightning.data.tokenize import RenderedExample
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from tests.data.common import write
from tests.data.formats.common import Row, assistant, said, system, user
from tests.data.formats.test_found import FOUND, LABELLED
from tests.helpers.tokenizers import TEMPLATES, chat, words

SHAPES = {**{name: row for name, (row, *_) in FOUND.items()}, **{name: row for name, (row, _) in LABELLED.items()}}
ROWS_OF_EACH = 10_000 // len(SHAPES) + 1
ODD = [
    *(None, True, False, 0, 1, -1, 1.5, 2, float("nan"), float("inf"), 10**400, b"x"),
    *(
        "",
        " ",
        "x",
        "4",
        "tie",
        "null",
        "[]",
        "{",
        '[{"role": "user"}]',
        "\x00",
        "\ud800",
        "<|user|>",
        "\n\nAssistant:",
    ),
    *([], {}, [None], [[]], ["a"], [1, 2], {"a": 1}, [{"role": "user"}], {"role": [], "content": "x"}),
    *(user("x"), assistant("x"), [system("x")], [assistant("x")], said("gpt", "x"), [said("x", "y")]),
    {"from": "function_call", "value": "{"},
]


def faulty(value: Any, rng: random.Random) -> Any:
    """The value, with a part of it replaced, left out or doubled, down to any depth."""
    if rng.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return rng.choice(ODD)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        return [*value[:at], *[faulty(value[at], rng) for _ in range(rng.choice([0, 1, 1, 2]))], *value[at + 1 :]]
    name = rng.choice([*value])
    if rng.random() < 0.3:
        return {other: each for other, each in value.items() if other != name}
    return {**value, name: faulty(value[name], rng)}


def fate(row: Row, examples: Any, encode: ExampleTokenizer) -> list[RenderedExample] | str:
    """The row as text, or what became of it."""
    try:
        return [encode.render(example, 0) for example in examples(row, encode.quote)]
    except NoPreference:
        return "dropped"
    except InputError as error:
        return "refused" if len(str(error).splitlines()) == 1 else "refused in lines"


@pytest.mark.parametrize("name", SHAPES)
def test_a_faulty_row_is_kept_dropped_or_refused(name: str) -> None:
    rng, counts = random.Random(name), Counter[str]()
    encode = ExampleTokenizer(chat(TEMPLATES["chatml"], words()), 200)
    read = find_format([SHAPES[name]]).format
    written: list[RenderedExample] = []
    for _ in range(ROWS_OF_EACH):
        row = SHAPES[name]
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            row = faulty(row, rng) if rng.random() < 0.95 else {**row, "x": rng.choice(ODD)}
            row = row if isinstance(row, dict) else SHAPES[name]
        became = fate(row, read.examples, encode)
        counts["kept" if isinstance(became, list) else became] += 1
        written += became if isinstance(became, list) else []

    assert len(encode.encode(written)) == len(written) >= counts["kept"]
    assert counts.keys() <= {"kept", "dropped", "refused"}
    assert counts.total() == ROWS_OF_EACH
    assert min(counts["kept"], counts["refused"]) > ROWS_OF_EACH // 10, counts


@pytest.mark.parametrize("wanted", [None, Compares.PAIRS, Compares.LABELLED])
def test_faulty_rows_are_of_a_format_or_refused(wanted: Compares | None) -> None:
    rng, counts = random.Random(0), Counter[str]()
    for name, whole in SHAPES.items():
        for _ in range(12):
            row = faulty(whole, rng)
            try:
                find_format([row] if isinstance(row, dict) else [whole], wanted)
                counts["found"] += 1
            except InputError as error:
                counts["refused" if len(str(error).splitlines()) == 1 else f"refused in lines: {name}"] += 1
    assert counts.keys() <= {"found", "refused"}
    assert min(counts["found"], counts["refused"]) > 50, counts


@pytest.mark.filterwarnings("ignore:.* are lost")
def test_what_the_data_module_keeps_and_drops_are_all_rows(tmp_path: Any, said: list[str]) -> None:
    rows = [
        {"prompt": f"q{n}", "response_0": "a", "response_1": "b" * (n % 3), "better_response_id": 0} for n in range(30)
    ]
    data = PreferenceDataModule(write(tmp_path / "rows.jsonl", rows), words())
    data.setup()
    assert any("30 pairs, 20 kept (0 of them truncated); dropped 10 with an empty completion" in line for line in said)
    assert data.splits["train"]["row"][:] == [n for n in range(30) if n % 3]
    assert json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0]) == rows[0]
