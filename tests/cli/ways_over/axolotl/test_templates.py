"""Chat templates of axolotl's configs."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl, config, told

CHAT = {"path": "rows.jsonl", "type": "chat_template.default"}


def test_the_tokenizers_own_is_left_alone() -> None:
    draft = axolotl(chat_template="tokenizer_default")
    assert "chat_template" not in config(draft)["data"]
    assert config(draft)["data"]["eos"] == "always"
    assert not draft.beside


def test_one_of_axolotls_own_is_told_with_its_file() -> None:
    draft = axolotl(chat_template="qwen_25")
    assert "templates/qwen_25.jinja as data.chat_template" in told(draft)["chat_template"]
    assert not draft.beside


@pytest.mark.parametrize(("name", "token"), [("chatml", "<|im_start|>"), ("llama3", "<|eot_id|>")])
def test_two_are_written_beside_the_config(name: str, token: str) -> None:
    draft = axolotl(chat_template=name)
    assert config(draft)["data"]["chat_template"] == f"<config>.{name}.jinja"
    assert token in draft.beside[f"{name}.jinja"]


def test_jinja_of_the_config_and_of_a_file() -> None:
    assert axolotl(chat_template="jinja", chat_template_jinja="{{ messages }}").beside == {
        "chat.jinja": "{{ messages }}"
    }
    assert (
        config(axolotl(chat_template="jinja", chat_template_jinja="a/chat.jinja"))["data"]["chat_template"]
        == "a/chat.jinja"
    )
    with pytest.raises(InputError, match="jinja without chat_template_jinja"):
        axolotl(chat_template="jinja")


def test_sets_with_several_templates_are_refused() -> None:
    sets: list[dict[str, Any]] = [
        {**CHAT, "chat_template": "chatml"},
        {**CHAT, "path": "b.jsonl", "chat_template": "llama3"},
    ]
    with pytest.raises(InputError, match="several chat templates"):
        axolotl(datasets=sets)


def test_a_template_that_no_type_reads_is_told() -> None:
    draft = axolotl(chat_template="chatml", datasets=[{"path": "rows.jsonl", "type": {"prompt_format": "Q {prompt}"}}])
    assert told(draft)["chat_template"] == "no data set has a type that reads it"
    assert "eos" not in config(draft)["data"], "a text ends with EOS anyway"
