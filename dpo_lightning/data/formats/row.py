"""A row with a preference triple: one prompt, a chosen and a rejected completion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Optional, Union

from dpo_lightning.batch import Column
from dpo_lightning.data.column_paths import has, missing, value
from dpo_lightning.data.columns import ColumnSource, check_sources, declared, named_columns, read_columns
from dpo_lightning.data.formats.example import Conversation, Example, Message
from dpo_lightning.data.formats.framed import FramedFormat
from dpo_lightning.data.formats.messages import check_completion, is_blank, quoted, shared_turns, text_or_messages
from dpo_lightning.data.formats.spans import check_spans, with_spans
from dpo_lightning.data.formats.spelled import check_not_spelled
from dpo_lightning.data.formats.template_inputs import template_inputs
from dpo_lightning.data.formats.turns import after, answer, asked, continues
from dpo_lightning.data.text_templates import fields, fill
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from dpo_lightning.utils.text import shared_start


@dataclass(frozen=True)
class RowFormat(FramedFormat):
    r"""A row with a preference triple: its columns, and the frame of plain text.

    A row without the prompt column has an *implicit prompt*: its two completions are whole dialogues, which are split
    at the last turn that both share, never inside a word. A column inside another one is named by its path, such as
    `input.messages`. The settings of plain text are those of `FramedFormat`.

    Args:
        prompt: Column of the prompt: text, or a list of messages. One that is named must be there.
        chosen: Column of the preferred completion, or of the whole dialogue.
        rejected: Column of the other completion, or of the whole dialogue.
        margin: Column of the chosen completion's true reward minus the rejected one's, or the two columns whose
            difference that is, such as `[score_chosen, score_rejected]`; for objectives that read it.
        probability: Column of the probability that the chosen completion is the better one, for objectives that read
            it.
        weight: Column of what a pair's loss is multiplied by, for objectives that read it.
        spans: Two columns with the characters of the chosen and of the rejected completion that count, `[start, end]`
            lists in the text or in the content of the one message; what else there is, is read and not trained on.

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
    margin: Optional[Union[str, list[str]]] = None
    probability: Optional[str] = None
    weight: Optional[str] = None
    spans: Optional[list[str]] = None

    def __post_init__(self) -> None:
        check_sources(self.columns_named)
        super().__post_init__()
        check_spans(self.spans, 2, "RowFormat")

    @property
    def columns_named(self) -> Mapping[str, ColumnSource]:
        """The columns of numbers that are given, and where they are in a row."""
        return named_columns(self)

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns that are given."""
        return declared(self.columns_named, self.texts)

    def written(self, row: Mapping[str, Any]) -> tuple[Any, Sequence[Any]]:
        """Return the prompt of a row and its completions as they stand in it."""
        return value(row, self.prompt), [value(row, name) for name in (self.chosen, self.rejected)]

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
            check_not_spelled(prompt, {self.chosen: chosen, self.rejected: rejected})
            texts = self._texts(prompt, chosen, rejected)
            return self._framed(texts, row, str if self.control_tokens else quote)
        self.check_of_text()
        triple = self._messages(prompt, answer(chosen), answer(rejected))
        pair = Example.pair(*(quoted(part, quote) for part in triple))
        return pair._replace(**template_inputs(row, quote))

    def _prompt(self, row: Mapping[str, Any]) -> Union[str, Conversation, None]:
        if has(row, self.prompt):
            if value(row, self.prompt) is None:
                raise InputError(f"field `{self.prompt}`: null{self._without_prompt}")
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
        chosen, rejected = (self._after(prompt, *each) for each in ((self.chosen, chosen), (self.rejected, rejected)))
        return prompt, chosen, rejected

    def _after(self, prompt: str, name: str, completion: str) -> str:
        rest = after(prompt, completion) if completion.strip() else completion
        if rest is None:
            raise InputError(f"field `{name}`: it does not begin with the prompt, as format.repeats_prompt says")
        return rest

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
    def _without_prompt(self) -> str:
        """End of a refusal: how to read whole dialogues without the column `prompt`; empty where another is named."""
        return ": for whole dialogues leave it out by data.format.ignore: [prompt]" if self.prompt == "prompt" else ""

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
            self._check_answer(given, name, completion)
        return prompt, chosen, rejected

    def _check_answer(self, given: Union[str, Conversation, None], name: str, completion: Conversation) -> None:
        if given and completion and completion[0]["role"] in ("system", "developer", "user"):
            raise InputError(
                f"field `{name}`: it begins with {completion[0]['role']!r}: a completion begins with an assistant "
                f"message, a whole dialogue with the messages of the prompt, and those of `{self.prompt}` are others"
                f"{self._without_prompt}"
            )
        check_completion(name, completion)
        last = given[-1] if isinstance(given, list) and given else {}
        if last.get("role") == "assistant" and not is_blank(last) and _said(last) == _said(completion[0]):
            raise InputError(
                f"field `{self.prompt}`: its last message is the answer in `{name}`: take it out of the prompt, or "
                f"give SwiftFormat with messages: {self.prompt} and rejected_response: {self.rejected}"
            )


def _said(message: Message) -> Any:
    return message.get("content", "").strip() or message
