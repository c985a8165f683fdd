"""Templates of plain text that take several columns."""

from __future__ import annotations

import pytest

from dpo_lightning import InputError, RowFormat
from dpo_lightning.data.text_templates import fields, fill

ROW = {"instruction": "I", "input": None, "meta": {"name": "N"}, "number": 3, "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("template", "named", "expected"),
    [
        ("{prompt}", ["prompt"], "P"),
        ("{instruction}\n{input?}|", ["instruction", "input"], "I\n|"),
        ("{meta.name}: {prompt}", ["meta.name", "prompt"], "N: P"),
        ("{{prompt}} {{x?}}", [], "{prompt} {x?}"),
        ('{"a": {"b": "{prompt}"}}', ["prompt"], '{"a": {"b": "P"}}'),
        ('{"a":{prompt}}', ["prompt"], '{"a":P}'),
        ("{} { x} {0} {prompt}", ["prompt"], "{} { x} {0} P"),
    ],
)
def test_fields_are_columns_and_other_braces_stay(template: str, named: list[str], expected: str) -> None:
    assert fields(template) == named
    assert fill(template, {"prompt": "P"}, ROW) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{input}", "field `input`: null: a text template names {input}; {{input}} would be text"),
        ("{other?}", "no column `other`; the columns are "),
        ("{other}", "no column `other`; the columns are "),
        ("{number}", "field `number`: int, not text, and a text template has {number}"),
    ],
)
def test_a_column_that_has_no_text_is_refused(template: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        fill(template, {}, ROW)
    assert str(raised.value).startswith(message)


def test_texts_are_quoted_once_and_never_read_as_templates() -> None:
    row = {**ROW, "instruction": "{input} <s>"}
    read = RowFormat(prompt_template="<s>{instruction}</s>")
    (pair,) = read.examples(row, lambda text: text.replace("<s>", "(s)"))
    assert pair.prompt == "<s>{input} (s)</s>"


def test_a_prompt_of_several_columns_needs_no_prompt_column() -> None:
    (pair,) = RowFormat(prompt_template="{instruction}\n{meta.name}").examples(ROW)
    assert (pair.prompt, pair.completions) == ("I\nN", ["a", "b"])
    (pair,) = RowFormat(prompt="instruction", prompt_template="{prompt} {meta.name}").examples(ROW)
    assert pair.prompt == "I N"


def test_a_named_prompt_column_that_the_template_leaves_out_is_refused() -> None:
    with pytest.raises(InputError, match=r"prompt_template must contain \{prompt\} once"):
        RowFormat(prompt="instruction", prompt_template="{instruction}\n{input}")
