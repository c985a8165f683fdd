"""Columns by name and by path."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning import InputError, RowFormat, UnpairedFormat
from dpo_lightning.data.column_paths import has, missing, required, value
from tests.data.common import ready

ROW = {"a": {"b": {"c": 1}, "b.c": 2, "n": None}, "a.b": 3, "none": None, "text": "t"}
ROW["list"] = [{"t": "first"}, {"t": "second"}]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("text", "t"),
        ("a.b", 3),
        ("a.b.c", 2),
        ("a.n", None),
        ("none", None),
        ("none.x", None),
        ("a.n.x", None),
        ("list.1.t", "second"),
        ("list.0", {"t": "first"}),
    ],
)
def test_a_name_with_dots_comes_before_the_path_that_it_looks_like(path: str, expected: Any) -> None:
    assert has(ROW, path)
    assert value(ROW, path) == expected


@pytest.mark.parametrize(
    "path", ["b", "a.x", "text.x", "text.", ".a", "a..b", "", "a.b.x.y", "list.2", "list.-1.t", "list.t"]
)
def test_what_is_not_there_is_refused(path: str) -> None:
    assert not has(ROW, path)
    assert value(ROW, path) is None
    with pytest.raises(InputError, match=r"^no "):
        required(ROW, path)


def test_messages_name_the_level_that_is_wrong() -> None:
    assert missing({"input": {"messages": []}}, "input.message") == (
        "no field `input.message`; the fields of `input` are `messages`"
    )
    assert missing({"input": "text"}, "input.message") == "no column `input.message`; the columns are `input`"
    with pytest.raises(InputError, match=r"^field `a\.n`: null$"):
        required(ROW, "a.n")


NESTED = {
    "input": {"question": "q", "kind": "x"},
    "output": {"good": "a", "bad": "b"},
    "score": {"good": 4.0, "bad": 1.0, "p": 0.75},
    "up": {"answer": "a", "label": 1},
}


def test_every_setting_of_a_column_takes_a_path() -> None:
    read = RowFormat(
        prompt="input.question",
        chosen="output.good",
        rejected="output.bad",
        margin=["score.good", "score.bad"],
        probability="score.p",
        texts=["input.kind"],
    )
    (pair,) = read.examples(NESTED)
    assert (pair.prompt, pair.completions) == ("q", ["a", "b"])
    assert pair.columns == {"margin": 3.0, "probability": 0.75, "input.kind": "x"}
    (one,) = UnpairedFormat(prompt="input.question", completion="up.answer", label="up.label").examples(NESTED)
    assert (one.prompt, one.completions, one.labels) == ("q", ["a"], [True])


def test_paths_go_through_arrow_and_the_cache() -> None:
    from datasets import Dataset

    read = RowFormat(prompt="input.question", chosen="output.good", rejected="output.bad", texts=["input.kind"])
    loaded = ready(Dataset.from_list([NESTED] * 4), format=read)
    tokenizer = loaded.tokenizer
    example = loaded.examples("train")[2]
    assert [tokenizer.decode(ids) for ids in example.completion_ids] == ["a</s>", "b</s>"]
    assert example.columns == {"input.kind": "x"}


@pytest.mark.parametrize("row_format", [RowFormat(prompt="question"), UnpairedFormat(prompt="question")])
@pytest.mark.parametrize("kind", ["text", "messages"])
def test_a_named_prompt_that_is_not_there_is_no_implicit_one(row_format: Any, kind: str) -> None:
    shared = "\n\nHuman: q\n\nAssistant:"
    dialogue = [{"role": "user", "content": "q"}]
    row: dict[str, Any] = {
        name: shared + name if kind == "text" else [*dialogue, {"role": "assistant", "content": name}]
        for name in ("chosen", "rejected")
    }
    with pytest.raises(InputError, match=r"^no column `question`; the columns are `chosen`, `rejected`: name one in"):
        row_format.examples(row)
    assert type(row_format)().examples(row)[0].completions[0] in (
        "chosen",
        [{"role": "assistant", "content": "chosen"}],
    )
