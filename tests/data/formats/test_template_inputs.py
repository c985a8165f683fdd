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
        ({"chat_template_kwargs": ["a"]}, "field `chat_template_kwargs`: list, not a mapping"),
    ],
)
def test_other_values_are_refused(row, words):
    with pytest.raises(InputError, match=words):
        template_inputs(row)
