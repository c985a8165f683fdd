"""Preference files of OpenAI's fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from dpo_lightning.data.formats.sharegpt import ShareGPTFormat


@dataclass(frozen=True)
class OpenAIFormat(ShareGPTFormat):
    """Rows with `input`, of messages and tools, and two outputs. Source: OpenAI's guide to preference fine-tuning.

    The settings are those of `ShareGPTFormat`.

    Example:
        >>> row = {
        ...     "input": {"messages": [{"role": "user", "content": "1 + 1?"}], "tools": []},
        ...     "preferred_output": [{"role": "assistant", "content": "2"}],
        ...     "non_preferred_output": [{"role": "assistant", "content": "3"}],
        ... }
        >>> OpenAIFormat().examples(row)[0].completions[0]
        [{'role': 'assistant', 'content': '2'}]
    """

    prompt: str = "input.messages"
    tools: Optional[str] = "input.tools"
    chosen: str = "preferred_output"
    rejected: str = "non_preferred_output"
