"""OpenAI's preference files."""

from __future__ import annotations

from dpo_lightning.data.formats import OpenAIFormat
from tests.data.formats.test_found import OPENAI


def test_tools_stand_in_the_input():
    tools = [{"type": "function", "function": {"name": "add"}}]
    row = {**OPENAI, "input": {**OPENAI["input"], "tools": tools}}

    assert OpenAIFormat().examples(row)[0].tools == tools
    assert OpenAIFormat().examples(OPENAI)[0].tools is None
