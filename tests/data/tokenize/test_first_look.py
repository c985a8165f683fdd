"""The look before tokenising: lines and warnings that are due, and none where nothing is."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from datasets import Dataset

from dpo_lightning import InputError, PreferenceDataModule, RowFormat, UnpairedFormat
from dpo_lightning.data.tokenize.template_use import unread_keys
from tests.data.common import rows
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import CHATML, chat, turn

NAMES = "{% for m in messages %}<|{{ m.role }}|>{{ m.name }}{{ m.content }}</s>\n{% endfor %}"


def look(content: list[dict[str, Any]], tokenizer: Any, **settings: Any) -> list[str]:
    """Return the warnings of a set-up."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PreferenceDataModule(Dataset.from_list(content), tokenizer, **settings).setup()
    return [str(each.message) for each in caught if "dataset in memory" in str(each.message)]


def lines(said: list[str]) -> list[str]:
    return [line for line in said if "not read" in line]


def pair(**fields: Any) -> dict[str, Any]:
    """A row of messages; the fields stand beside the content of the chosen answer."""
    return {
        "prompt": [turn("user", "q")],
        "chosen": [{**turn("assistant", "a"), **fields}],
        "rejected": [turn("assistant", "b")],
    }


def test_text_on_a_tokenizer_with_a_chat_template_is_one_warning_that_names_the_key() -> None:
    (warning,) = look(rows(5), chat(CHATML))
    assert "the rows are plain text" in warning
    assert "data.format.as_messages: true" in warning


@pytest.mark.parametrize(
    ("tokenizer", "row_format"),
    [
        (tiny_tokenizer(), RowFormat()),
        (chat(CHATML), RowFormat(as_messages=True)),
        (chat(CHATML), RowFormat(as_messages=False)),
        (chat(CHATML), RowFormat(prompt_template="Q: {prompt} A:")),
        (chat(CHATML), RowFormat(control_tokens=True)),
    ],
    ids=["no template", "wrapped", "as it is", "framed", "templated"],
)
def test_text_that_is_meant_so_is_none(tokenizer: Any, row_format: RowFormat) -> None:
    assert look(rows(5), tokenizer, format=row_format) == []


@pytest.mark.parametrize(("spelling", "due"), [(3, True), (2, False)])
@pytest.mark.parametrize("template", [CHATML, None], ids=["chat", "no template"])
def test_text_that_has_a_template_already(spelling: int, due: bool, template: str | None) -> None:
    content = rows(5)
    for row in content[:spelling]:
        row["prompt"] = f"<|user|>{row['prompt']}</s><|assistant|>"
    told = look(content, chat(template), format=RowFormat(as_messages=None if due else False))
    assert [("data.format.control_tokens: true" in warning) for warning in told] == [True] * due
    assert look(content, chat(template), format=RowFormat(control_tokens=True)) == []


def test_keys_of_messages_that_no_template_writes(said: list[str]) -> None:
    content = [pair(name="n"), pair(name="n", score=1), pair(name=None)]
    assert look(content, chat(CHATML)) == []
    assert lines(said) == [
        "the dataset in memory, split train: not read (in so many rows): the chat template leaves, of the messages, "
        "`name` (2), `score` (1)"
    ]
    look(content, chat(NAMES))
    assert lines(said)[1].endswith("of the messages, `score` (1)")
    look(content, chat(NAMES), format=RowFormat(ignore=["score"]))
    assert len(lines(said)) == 2
    with pytest.raises(InputError, match=r"data\.format\.ignore: `name` is read"):
        look(content, chat(NAMES), format=RowFormat(ignore=["name", "score"]))


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "tool_calls"])
def test_what_an_answer_says_and_no_template_writes_is_a_warning(key: str) -> None:
    (warning,) = look([pair(**{key: "x"})] * 3, chat(CHATML))
    assert warning.endswith(f"the chat template leaves, of the messages, `{key}` (3)")


def test_template_arguments_and_tools_of_rows(said: list[str]) -> None:
    content = [{**pair(), "chat_template_kwargs": {"enable_thinking": False}}] * 3
    assert look(content, chat(CHATML)) == []
    assert lines(said)[0].endswith("the chat template has no variable `enable_thinking` (3)")
    tools = [{**pair(), "tools": [{"name": "f"}]}] * 3
    with pytest.raises(InputError, match=r"the rows have tools .*the chat template writes none.*ignore: \[tools\]"):
        look(tools, chat(CHATML))
    assert look(tools, chat(CHATML), format=RowFormat(ignore=["tools"])) == []
    assert look(tools, chat("{{ tools }}" + CHATML)) == []


def test_keys_of_one_row_far_behind_are_found(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr("dpo_lightning.data.formats.unread._FIRST", 4)
    monkeypatch.setattr("dpo_lightning.data.formats.unread._SPREAD", 2)
    content = [pair(name=None) for _ in range(50)]
    content[23] = pair(name="n")
    look(content, chat(CHATML))
    assert lines(said)[0].endswith("`name` (1)")


HH = [
    {"chosen": f"\n\nHuman: q{n}\n\nAssistant: good", "rejected": f"\n\nHuman: q{n}\n\nAssistant: bad"}
    for n in range(3)
]
DIALOGUE = [turn("user", "Q"), turn("assistant", "good")]
OTHER = [turn("user", "Q"), turn("assistant", "bad")]
SCORED = {"prompt_id": "x", "messages": DIALOGUE, "score_chosen": 8.5, "score_rejected": 7.0}
TRL = {
    "standard": [{"prompt": "q", "chosen": "a", "rejected": "b"}],
    "implicit": [{"chosen": DIALOGUE, "rejected": OTHER}],
    "conversational": [pair()],
    "ultrafeedback_binarized": [{"prompt": "Q", "chosen": DIALOGUE, "rejected": OTHER, **SCORED}],
    "hh": HH,
}
UNPAIRED = {
    "standard": [{"prompt": "q", "completion": "a", "label": True}, {"prompt": "q", "completion": "b", "label": False}],
    "conversational": [
        {"prompt": [turn("user", "q")], "completion": [turn("assistant", "a")], "label": True},
        {"prompt": [turn("user", "q")], "completion": [turn("assistant", "b")], "label": False},
    ],
}


@pytest.mark.parametrize("name", TRL)
def test_data_as_trl_has_it_gives_no_warning(name: str, said: list[str]) -> None:
    of_text = isinstance(TRL[name][0]["chosen"], str)
    assert look(TRL[name] * 3, tiny_tokenizer() if of_text else chat(CHATML)) == []
    assert len(lines(said)) == (name == "ultrafeedback_binarized")


@pytest.mark.parametrize("name", UNPAIRED)
def test_unpaired_data_as_trl_has_it_gives_no_warning(name: str, said: list[str]) -> None:
    of_text = isinstance(UNPAIRED[name][0]["prompt"], str)
    assert look(UNPAIRED[name] * 3, tiny_tokenizer() if of_text else chat(CHATML), format=UnpairedFormat()) == []
    assert not lines(said)


def test_no_key_is_unread_without_messages() -> None:
    assert unread_keys(chat(CHATML), []) == []


def test_words_that_the_template_leaves_out_of_answers_are_counted() -> None:
    """As DeepSeek's leaves out thoughts, and Llama's what stands beside a call."""
    thoughtless = CHATML.replace("m.content", "m.content.split('</think>')[-1]")
    thinking = [pair(content=f"<think>\nCounting {n}\n</think>\n\na") for n in range(3)]
    (warning,) = look([*thinking, pair()], chat(thoughtless))
    assert "leaves out words of the answers in 3 of 4 examples looked at" in warning
    assert look([*thinking, pair()], chat(CHATML)) == []
