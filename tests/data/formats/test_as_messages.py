"""Text as messages, against the same rows written as messages."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset

from dpo_lightning import Example, Format, InputError, RowFormat, UnpairedFormat
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.losses import Compares
from tests.data.common import ready
from tests.helpers.tokenizers import CHATML, chat, turn

TEXT = {"prompt": "what?", "chosen": "a", "rejected": "b", "rules": "be brief", "none": None, "number": 3}


class Own(Format):
    gives = Compares.PAIRS

    def examples(self, row, quote=str):
        return [Example.pair(*(quote(row[name]) for name in ("prompt", "chosen", "rejected")))]


def tokens(row: dict[str, Any], row_format: Format) -> list[Any]:
    loaded = ready(Dataset.from_list([row] * 2), tokenizer=chat(CHATML), format=row_format)
    return [(each.prompt_ids, each.completion_ids, each.labels) for each in loaded.examples("train")]


def written(*before: dict[str, str]) -> dict[str, Any]:
    return {
        "prompt": [*before, turn("user", "what?")],
        "chosen": [turn("assistant", "a")],
        "rejected": [turn("assistant", "b")],
    }


@pytest.mark.parametrize("kind", [RowFormat, UnpairedFormat, Own])
def test_the_tokens_are_those_of_messages(kind: type[Format]) -> None:
    as_lists = RowFormat if kind is Own else kind
    text = {name: TEXT[name] for name in ("prompt", "chosen", "rejected")}
    assert tokens(text, kind(as_messages=True)) == tokens(written(), as_lists())
    ruled = {**text, "rules": "be brief"}
    assert tokens(ruled, kind(as_messages=True, system="rules")) == tokens(
        written(turn("system", "be brief")), as_lists()
    )


def test_a_system_prompt_stands_before_messages() -> None:
    row = {**written(), "rules": "be brief"}
    assert tokens(row, RowFormat(system="rules")) == tokens(written(turn("system", "be brief")), RowFormat())
    row = {**written(turn("system", "be brief")), "rules": "be brief"}
    assert tokens(row, RowFormat(system="rules")) == tokens(written(turn("system", "be brief")), RowFormat())


@pytest.mark.parametrize("blank", [None, "", " \n"])
def test_a_blank_system_prompt_is_none(blank: str | None) -> None:
    read = RowFormat(as_messages=True, system="rules")
    (example,) = read_examples(read, {**TEXT, "rules": blank}, str)
    assert example.prompt == [turn("user", "what?")]


def test_text_keeps_its_frame_its_quotes_and_its_tools() -> None:
    read = RowFormat(as_messages=True, prompt_template="{prompt}\n{number_text}")
    row = {**TEXT, "number_text": "<s>", "tools": [{"name": "f"}], "chat_template_kwargs": {"x": 1}}
    (example,) = read_examples(read, row, lambda text: text.replace("<s>", "(s)"))
    assert example.prompt == [turn("user", "what?\n(s)")]
    assert example.tools == [{"name": "f"}]
    assert example.template_arguments == {"x": 1}


DIALOGUE = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}


@pytest.mark.parametrize(
    ("settings", "row", "message"),
    [
        ({"as_messages": True}, written(), "format.as_messages is for rows of text"),
        ({"as_messages": True}, DIALOGUE, "no column `prompt`: format.as_messages takes a prompt and its answers"),
        ({"system": "rules"}, TEXT, "format.system is for messages: set format.as_messages to true"),
        ({"as_messages": True, "system": "rule"}, TEXT, "no column `rule`; the columns are"),
        ({"as_messages": True, "system": "number"}, TEXT, "field `number`: int, not the text of a system prompt"),
        ({"as_messages": True, "system": "rules"}, {**TEXT, "rules": "\ud800"}, "field `rules`: character 0 is U+D800"),
        (
            {"system": "rules"},
            {**written(turn("system", "be kind")), "rules": "be brief"},
            "field `rules`: the messages of the prompt have a system message of their own",
        ),
    ],
)
@pytest.mark.parametrize("kind", [RowFormat, UnpairedFormat])
def test_what_does_not_fit_is_refused(
    kind: type[Format], settings: dict[str, Any], row: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as raised:
        read_examples(kind(**settings), row, str)
    assert str(raised.value).startswith(message)


@pytest.mark.filterwarnings("ignore:.* are lost")
def test_a_blank_answer_is_counted_as_empty(said: list[str]) -> None:
    rows = [{"prompt": "q", "chosen": " ", "rejected": "b"}, {"prompt": "q", "chosen": "a", "rejected": "b"}]
    ready(Dataset.from_list(rows), tokenizer=chat(CHATML), format=RowFormat(as_messages=True))
    assert said[-1].endswith("2 pairs, 1 kept (0 of them truncated); dropped 1 with an empty completion")


def test_text_that_has_a_template_already_is_not_given_another() -> None:
    with pytest.raises(InputError, match="set one of them"):
        ready(format=RowFormat(as_messages=True, control_tokens=True))
    with pytest.raises(InputError, match=r"RowFormat\.as_messages must be true or false"):
        RowFormat(as_messages="yes")  # type: ignore[arg-type]
