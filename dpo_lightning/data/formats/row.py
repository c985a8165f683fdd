"""A row with a preference triple: one prompt, a chosen and a rejected completion."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Optional, Union

from dpo_lightning.batch import COLUMNS, Column
from dpo_lightning.data.columns import (
    ColumnSource,
    check_framing,
    check_sources,
    check_texts,
    declared,
    read_columns,
)
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.example import Conversation, Example
from dpo_lightning.data.formats.messages import check_completion, quoted, shared_turns, text_or_messages
from dpo_lightning.data.formats.template_inputs import template_inputs
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares


@dataclass(frozen=True)
class RowFormat(Format):
    r"""A row with a preference triple: its columns, and the frame of plain text.

    A row without the prompt column has an *implicit prompt*: its two completions are whole dialogues, which are split
    at the last turn that both share, never inside a word.

    Args:
        prompt: Column of the prompt: text, or a list of messages.
        chosen: Column of the preferred completion, or of the whole dialogue.
        rejected: Column of the other completion, or of the whole dialogue.
        prompt_template: Text around a plain-text prompt; `{prompt}` stands for it.
        completion_template: Text around a plain-text completion; `{completion}` stands for it.
        turn_marker: What opens the assistant's turns in plain-text dialogues with an implicit prompt.
        control_tokens: Take control tokens that plain text spells, such as `<|im_start|>`, for the tokenizer's own: for
            rows to which a chat template was applied already. Otherwise they stay text.
        margin: Column of the chosen completion's true reward minus the rejected one's, or the two columns whose
            difference that is, such as `[score_chosen, score_rejected]`; for objectives that read it.
        probability: Column of the probability that the chosen completion is the better one, for objectives that read
            it.
        weight: Column of what a pair's loss is multiplied by, for objectives that read it.
        texts: Columns of text, such as `[source, category]`, that go along in `PreferenceBatch.texts`: for metrics of
            your own, and beside predicted rewards.

    Example:
        >>> row = {"question": "1 + 1?", "chosen": "2", "rejected": "3", "good": 4, "bad": 1.5}
        >>> read = RowFormat(prompt="question", prompt_template="Q: {prompt} A:", margin=["good", "bad"])
        >>> example = read.examples(row)[0]
        >>> example.prompt, example.completions, example.columns
        ('Q: 1 + 1? A:', ['2', '3'], {'margin': 2.5})
    """

    gives: ClassVar[Compares] = Compares.PAIRS

    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    prompt_template: str = "{prompt}"
    completion_template: str = "{completion}"
    turn_marker: str = "\n\nAssistant:"
    control_tokens: bool = False
    margin: Optional[Union[str, list[str]]] = None
    probability: Optional[str] = None
    weight: Optional[str] = None
    texts: Optional[list[str]] = None

    def __post_init__(self) -> None:
        check_sources(self.columns_named)
        check_texts(self.texts, "RowFormat")
        check_framing(self)

    @property
    def columns_named(self) -> Mapping[str, ColumnSource]:
        """The columns of numbers that are given, and where they are in a row."""
        return {name: source for name in COLUMNS if (source := getattr(self, name, None)) is not None}

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns that are given."""
        return declared(self.columns_named, self.texts)

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        """Return the row's pair, see `parse`, with the values of the named columns."""
        return [self.parse(row, quote)._replace(columns=read_columns(self.columns_named, self.texts, row))]

    def parse(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> Example:
        """Check the texts of a row and make a pair of them.

        Args:
            row: Columns by name.
            quote: Marks the control tokens that a text of the row spells, before templates are put around it.

        Raises:
            InputError: naming the field, when one is missing, null, of another type, or has wrong roles.
        """
        chosen, rejected = text_or_messages(row, self.chosen), text_or_messages(row, self.rejected)
        if isinstance(chosen, str) != isinstance(rejected, str):
            raise InputError(f"fields `{self.chosen}` and `{self.rejected}`: one is text, the other a list of messages")
        if isinstance(chosen, str):
            return self._frame_all(*map(str if self.control_tokens else quote, self._texts(row, chosen, rejected)))
        if self.control_tokens:
            raise InputError("format.control_tokens is for rows of text: the rows are messages, so leave it out")
        pair = Example.pair(*(quoted(part, quote) for part in self._messages(row, chosen, rejected)))
        return pair._replace(**template_inputs(row, quote))

    def _texts(self, row: Mapping[str, Any], chosen: str, rejected: str) -> tuple[str, str, str]:
        if self.prompt not in row:
            return self._split_dialogues(chosen, rejected)
        prompt = text_or_messages(row, self.prompt)
        if not isinstance(prompt, str):
            raise InputError(f"field `{self.prompt}`: a list of messages, but `{self.chosen}` is text")
        return prompt, chosen, rejected

    def _frame_all(self, prompt: str, chosen: str, rejected: str) -> Example:
        framed = self.prompt_template.replace("{prompt}", prompt)
        return Example.pair(framed, self._frame(chosen), self._frame(rejected))

    def _frame(self, completion: str) -> str:
        # A blank completion stays blank, so that it is counted as empty.
        return self.completion_template.replace("{completion}", completion) if completion.strip() else completion

    def _split_dialogues(self, chosen: str, rejected: str) -> tuple[str, str, str]:
        shared = os.path.commonprefix([chosen, rejected])  # noqa: RUF071 - of texts, character by character
        start = shared.rfind(self.turn_marker)
        if start < 0:
            raise InputError(
                f"no column `{self.prompt}`, and {self._both} no turn that opens with {self.turn_marker!r}: name "
                "the prompt column in `format.prompt`, or set `format.turn_marker`"
            )
        end = start + len(self.turn_marker)
        return shared[:end], chosen[end:], rejected[end:]

    @property
    def _both(self) -> str:
        """Subject and verb of what the dialogues have in common; of one dialogue, where it stands for both."""
        one = self.chosen == self.rejected
        return f"`{self.chosen}` has" if one else f"`{self.chosen}` and `{self.rejected}` share"

    def _messages(
        self, row: Mapping[str, Any], chosen: Conversation, rejected: Conversation
    ) -> tuple[Conversation, Conversation, Conversation]:
        prompt = text_or_messages(row, self.prompt) if self.prompt in row else []
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        if chosen[: len(prompt)] == prompt == rejected[: len(prompt)]:
            shared = shared_turns(chosen, rejected)
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not prompt:
            raise InputError(
                f"fields `{self.chosen}` and `{self.rejected}`: after the turns that they share, both must go on with "
                "an assistant message"
            )
        if prompt[-1]["role"] == "assistant":
            raise InputError(f"field `{self.prompt}`: the last message is the assistant's, so there is none to answer")
        for name, completion in ((self.chosen, chosen), (self.rejected, rejected)):
            check_completion(name, completion)
        return prompt, chosen, rejected
