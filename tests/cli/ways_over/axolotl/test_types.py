"""The strategies of axolotl: rows through the converted format are what the strategy makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.cli.ways_over.axolotl.types import STRATEGIES, named, of_mapping
from dpo_lightning.data import formats

ASKED, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "1+1?"), ("assistant", "2"), ("assistant", "3"))
)
TEXTS = {"chosen": "2", "rejected": "3"}


def examples(rl: str, kind: str, row: dict[str, Any]) -> Any:
    found = named(rl, kind)
    assert found.format is not None
    made: Any = getattr(formats, found.format)(**found.settings)
    return made.examples(row)


@pytest.mark.parametrize(
    ("kind", "row", "prompt"),
    [
        ("chatml.intel", {"system": "Be brief.", "question": "1+1?", **TEXTS}, [ASKED]),
        ("llama3.icr", {"system": "", "input": "1+1?", **TEXTS}, [ASKED]),
        ("chatml.prompt_pairs", {"prompt": "1+1?", **TEXTS}, [ASKED]),
        ("chatml", {"prompt": "1+1?", **TEXTS}, [ASKED]),
        ("chatml.ultra", {"prompt": "1+1?", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}, [ASKED]),
        ("llama3.argilla_chat", {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}, [ASKED]),
    ],
)
def test_pairs(kind: str, row: dict[str, Any], prompt: list[dict[str, str]]) -> None:
    (example,) = examples("dpo", kind, row)
    written = example.prompt if isinstance(example.prompt, list) else [{"role": "user", "content": example.prompt}]
    assert written == prompt
    assert [each if isinstance(each, str) else each[0]["content"] for each in example.completions] == ["2", "3"]


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("chatml.argilla", {"instruction": "1+1?", "completion": "2"}),
        ("llama3.ultra", {"prompt": "1+1?", "completion": "2"}),
        ("chatml.argilla_chat", {"completion": [ASKED, GOOD]}),
    ],
)
def test_labelled_completions(kind: str, row: dict[str, Any]) -> None:
    (example,) = examples("kto", kind, {**row, "label": True})
    assert list(example.labels) == [True]


def test_the_system_prompt_is_named_where_a_strategy_documents_its_column() -> None:
    found = {kind: named("dpo", kind).settings.get("system") for kind in STRATEGIES["pairs"]}
    assert {kind for kind, column in found.items() if column} == {
        f"{family}.{name}" for family in ("chatml", "llama3") for name in ("intel", "icr")
    }


def test_the_worst_answers_of_nectar_are_refused() -> None:
    assert "the worst as chosen" in named("dpo", "zephyr.nectar").refused


@pytest.mark.parametrize(("rl", "kind"), [("dpo", "alpaca"), ("kto", "chatml.icr"), ("orpo", "chatml.ultra")])
def test_an_unknown_type_is_answered_with_those_that_there_are(rl: str, kind: str) -> None:
    said = named(rl, kind).refused
    assert all(name in said for name in STRATEGIES[{"kto": "labelled", "orpo": "odds"}.get(rl, "pairs")])


def test_user_defined_texts() -> None:
    given = {
        "field_system": "sys",
        "field_prompt": "q",
        "field_chosen": "a",
        "field_rejected": "b",
        "prompt_format": "[{system}] {prompt} ->",
        "chosen_format": "{chosen}!",
        "rejected_format": "{rejected}!",
    }
    found = of_mapping("dpo", given)
    made: Any = getattr(formats, str(found.format))(**found.settings)
    (example,) = made.examples({"q": "1+1?", "a": "2", "b": "3", "sys": None})
    assert (example.prompt, example.completions) == ("[] 1+1? ->", ["2!", "3!"])


def test_user_defined_texts_of_other_frames_are_refused() -> None:
    given = {
        "field_system": "s",
        "field_prompt": "p",
        "field_chosen": "a",
        "field_rejected": "b",
        "prompt_format": None,
        "chosen_format": "{chosen}",
        "rejected_format": "{rejected}.",
    }
    assert "differ" in of_mapping("dpo", given).refused
    assert "no user-defined type" in of_mapping("orpo", given).refused
