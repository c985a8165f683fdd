"""Tools and arguments of the template, as columns of a row."""

from __future__ import annotations

import pytest

from dpo_lightning.data.formats.template_inputs import template_inputs
from dpo_lightning.errors import InputError


@pytest.mark.parametrize("tools", [[{"name": "f", "default": None}], '[{"name": "f"}]'], ids=["list", "JSON"])
def test_tools_are_a_list_or_json_text_of_one(tools):
    assert template_inputs({"tools": tools})["tools"] == [{"name": "f"}]


@pytest.mark.parametrize("tools", [None, [], "", "[]"])
def test_no_tools(tools):
    assert template_inputs({"tools": tools}) == {"tools": None, "template_arguments": {}}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"tools": {"name": "f"}}, "field `tools`: dict, not a list"),
        ({"tools": "f("}, "field `tools`: text that is not JSON"),
        ({"chat_template_kwargs": {"add_generation_prompt": 1}}, "`chat_template_kwargs`: `add_generation_prompt` is"),
        ({"chat_template_kwargs": {"a b": 1}}, "field `chat_template_kwargs`: 'a b' is no name of an argument"),
        ({"chat_template_kwargs": ["a"]}, "field `chat_template_kwargs`: list, not a mapping"),
    ],
)
def test_other_values_are_refused(row, words):
    with pytest.raises(InputError, match=words):
        template_inputs(row)


def test_the_arguments_that_are_ours_are_all_that_transformers_has_but_documents():
    import inspect

    from transformers import PreTrainedTokenizerBase

    from dpo_lightning.data.formats.template_inputs import check_template_arguments

    check_template_arguments({"documents": [], "enable_thinking": False}, "here")
    named = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
    for name in [*named.keys() - {"self", "kwargs", "documents"}, "messages"]:
        with pytest.raises(InputError, match=f"^here: `{name}` is not the template's own"):
            check_template_arguments({name: 1}, "here")
