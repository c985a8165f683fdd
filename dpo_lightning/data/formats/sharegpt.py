"""ShareGPT's rows: a dialogue of `from` and `value`, and one message each that is chosen and rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dpo_lightning.data.column_paths import required
from dpo_lightning.data.formats.pairs import PairFormat, Side


@dataclass(frozen=True)
class ShareGPTFormat(PairFormat):
    """A dialogue with two answers, in the spellings of ShareGPT, LLaMA-Factory and axolotl.

    Messages have `from` and `value`, or `role` and `content`; roles may be named human, gpt, Human, model, bot,
    function_call, observation and so on, see `ROLES`. An answer is a message, a list of them, or text. Source: the data
    formats of LLaMA-Factory (`sharegpt`, ranking) and of axolotl (`chat_template.default`).

    Args:
        prompt: Column of the dialogue.
        input: As in `PairFormat`.
        tools: Column of the definitions of tools, or JSON of them.
        json_columns: As in `PairFormat`.
        roles: Names of further roles, and what they are.
        margin: As in `RowFormat`.
        weight: As in `RowFormat`.
        texts: As in `RowFormat`.
        chosen: Column of the preferred answer.
        rejected: Column of the other answer.

    Example:
        >>> row = {
        ...     "conversations": [{"from": "human", "value": "1 + 1?"}],
        ...     "chosen": {"from": "gpt", "value": "2"},
        ...     "rejected": {"from": "gpt", "value": "3"},
        ... }
        >>> ShareGPTFormat().examples(row)[0].completions
        [[{'role': 'assistant', 'content': '2'}], [{'role': 'assistant', 'content': '3'}]]
    """

    prompt: str = "conversations"
    chosen: str = "chosen"
    rejected: str = "rejected"

    def sides(self, row: Mapping[str, Any]) -> Iterable[tuple[Side, Side]]:
        """Return the two answers as they are named."""
        chosen, rejected = (Side(name, required(row, name)) for name in (self.chosen, self.rejected))
        return [(chosen, rejected)]
