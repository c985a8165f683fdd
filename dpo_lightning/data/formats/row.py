"""A row with a preference triple: one prompt, a chosen and a rejected completion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Optional, Union

from dpo_lightning.batch import Column
from dpo_lightning.data.column_paths import has, missing
from dpo_lightning.data.columns import (
    ColumnSource,
    check_framing,
    check_sources,
    check_texts,
    declared,
    named_columns,
    read_columns,
)
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.example import Conversation, Example
from dpo_lightning.data.formats.messages import check_completion, quoted, shared_turns, text_or_messages
from dpo_lightning.data.formats.spans import check_spans, with_spans
from dpo_lightning.data.formats.template_inputs import template_inputs
from dpo_lightning.data.formats.turns import answer, asked, continues, repeats
from dpo_lightning.data.text_templates import fields, fill
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from dpo_lightning.utils.text import shared_start


@dataclass(frozen=True)
class RowFormat(Format):
    r"""A row with a preference triple: its columns, and the frame of plain text.

    A row without the prompt column has an *implicit prompt*: its two completions are whole dialogues, which are split
    at the last turn that both share, never inside a word. A column inside another one is named by its path, such as
    `input.messages`.

    Args:
        prompt: Column of the prompt: text, or a list of messages. One that is named must be there.
        chosen: Column of the preferred completion, or of the whole dialogue.
        rejected: Column of the other completion, or of the whole dialogue.
        prompt_template: Text around a plain-text prompt; `{prompt}` stands for it, every other name in braces for the
            text of that column, as in `{prompt}\n{input?}`: with a question mark, null is an empty text. Without
            `{prompt}` the columns that it names are the prompt, as in `{instruction}\n{input}`.
        completion_template: Text around a plain-text completion; `{completion}` stands for it.
        turn_marker: What opens the assistant's turns in plain-text dialogues with an implicit prompt.
        control_tokens: Take control tokens that plain text spells, such as `<|im_start|>`, for the tokenizer's own: for
            rows to which a chat template was applied already. Otherwise they stay text.
        margin: Column of the chosen completion's true reward minus the rejected one's, or the two columns whose
            difference that is, such as `[score_chosen, score_rejected]`; for objectives that read it.
        probability: Column of the probability that the chosen completion is the better one, for objectives that read
            it.
        weight: Column of what a pair's loss is multiplied by, for objectives that read it.
        spans: Two columns with the characters of the chosen and of the rejected completion that count, `[start, end]`
            lists in the text or in the content of the one message; what else there is, is read and not trained on.
        texts: Columns of text, such as `[source, category]`, that go along in `PreferenceBatch.texts`: for metrics of
            your own, and beside predicted rewards.
        repeats_prompt: Whether text completions begin with the prompt, which is then taken off; set by itself where
            those of all first rows do.

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
    spans: Optional[list[str]] = None
    texts: Optional[list[str]] = None
    repeats_prompt: bool = False

    def __post_init__(self) -> None:
        check_sources(self.columns_named)
        check_texts(self.texts, "RowFormat")
        check_spans(self.spans, 2, "RowFormat")
        check_framing(self)

    @property
    def columns_named(self) -> Mapping[str, ColumnSource]:
        """The columns of numbers that are given, and where they are in a row."""
        return named_columns(self)

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns that are given."""
        return declared(self.columns_named, self.texts)

    def found_in(self, rows: Sequence[Mapping[str, Any]], wanted: Compares | None = None) -> Format:
        """Return this format, with `repeats_prompt` where the completions of all rows begin with their prompt."""
        repeated = bool(rows) and all(repeats(row, self.prompt, (self.chosen, self.rejected)) for row in rows)
        return replace(self, repeats_prompt=True) if repeated else self

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        """Return the row's pair, see `parse`, with the values of the named columns."""
        pair = self.parse(row, quote)._replace(columns=read_columns(self.columns_named, self.texts, row))
        return [with_spans(pair, row, self.spans, self.completion_template) if self.spans else pair]

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
        reads_prompt = not isinstance(chosen, str) or "prompt" in fields(self.prompt_template)
        prompt = self._prompt(row) if reads_prompt else ""
        if isinstance(chosen, str) and not isinstance(prompt, list):
            texts = self._texts(prompt, chosen, rejected)
            return self._framed(texts, row, str if self.control_tokens else quote)
        if self.control_tokens:
            raise InputError("format.control_tokens is for rows of text: the rows are messages, so leave it out")
        triple = self._messages(prompt, answer(chosen), answer(rejected))
        pair = Example.pair(*(quoted(part, quote) for part in triple))
        return pair._replace(**template_inputs(row, quote))

    def _prompt(self, row: Mapping[str, Any]) -> Union[str, Conversation, None]:
        if has(row, self.prompt):
            found: Union[str, Conversation] = text_or_messages(row, self.prompt)
            return found
        if self.prompt != "prompt":
            raise InputError(f"{missing(row, self.prompt)}: name one in format.prompt, or none for whole dialogues")
        return None

    def _texts(self, prompt: str | None, chosen: str, rejected: str) -> tuple[str, str, str]:
        if prompt is None:
            return self._split_dialogues(chosen, rejected)
        if not self.repeats_prompt:
            return prompt, chosen, rejected
        for name, text in ((self.chosen, chosen), (self.rejected, rejected)):
            if not text.startswith(prompt):
                raise InputError(f"field `{name}`: it does not begin with the prompt, as format.repeats_prompt says")
        return prompt, chosen.removeprefix(prompt), rejected.removeprefix(prompt)

    def _framed(self, texts: tuple[str, str, str], row: Mapping[str, Any], quote: Callable[[str], str]) -> Example:
        prompt, *completions = map(quote, texts)
        framed = fill(self.prompt_template, {"prompt": prompt}, row, quote)
        return Example.pair(framed, *map(self._frame, completions))

    def _frame(self, completion: str) -> str:
        # A blank completion stays blank, so that it is counted as empty.
        return self.completion_template.replace("{completion}", completion) if completion.strip() else completion

    def _split_dialogues(self, chosen: str, rejected: str) -> tuple[str, str, str]:
        if self.as_messages:
            raise InputError(
                f"no column `{self.prompt}`: format.as_messages takes a prompt and its answers, no whole dialogues"
            )
        shared = shared_start(chosen, rejected)
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
        self, given: Union[str, Conversation, None], chosen: Conversation, rejected: Conversation
    ) -> tuple[Conversation, Conversation, Conversation]:
        prompt = asked(given or [])
        shared = shared_turns(chosen, rejected)
        if continues(given or [], chosen[:shared]):
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not prompt:
            raise InputError(
                f"fields `{self.chosen}` and `{self.rejected}`: after the turns that they share, both must go on with "
                "an assistant message"
            )
        if prompt[-1]["role"] == "assistant" and prompt is not given:  # a prompt of its own is continued
            raise InputError(
                f"fields `{self.chosen}` and `{self.rejected}`: the last message that both dialogues share is the "
                f"assistant's, so there is none to answer: to continue it, give the prompt in `{self.prompt}`"
            )
        for name, completion in ((self.chosen, chosen), (self.rejected, rejected)):
            check_completion(name, completion)
        return prompt, chosen, rejected
