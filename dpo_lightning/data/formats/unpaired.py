"""A row of a dataset -> labelled completions; a row with a pair is two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Optional

from dpo_lightning.batch import Column
from dpo_lightning.data.column_paths import has, missing, value
from dpo_lightning.data.columns import check_framing, check_texts, declared
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.example import Example
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares


@dataclass(frozen=True)
class UnpairedFormat(Format):
    r"""A row with a completion and its label, for objectives such as KTO, which need no pairs.

    A label is true or false, 1 or 0. A row that has a pair instead, in the columns `chosen` and `rejected`, becomes a
    desirable and an undesirable completion; a file may hold rows of both kinds. A row without the prompt column holds
    whole dialogues: those of a pair are split as in `RowFormat`, a single one before its last assistant turn.

    Args:
        prompt: Column of the prompt: text, or a list of messages.
        completion: Column of the completion, or of the whole dialogue.
        label: Column of the label: whether the completion is desirable.
        chosen: Column of a pair's preferred completion.
        rejected: Column of a pair's other completion.
        prompt_template: Text around a plain-text prompt, as in `RowFormat`.
        completion_template: Text around a plain-text completion, as in `RowFormat`.
        turn_marker: What opens the assistant's turns in plain-text dialogues with an implicit prompt.
        control_tokens: Take control tokens that plain text spells for the tokenizer's own, as in `RowFormat`.
        texts: Columns of text that go along, as in `RowFormat`.

    Example:
        >>> read = UnpairedFormat(completion="answer", label="thumbs_up")
        >>> read.examples({"prompt": "1 + 1?", "answer": "2", "thumbs_up": 1})[0].label
        True
        >>> [each.label for each in read.examples({"prompt": "1 + 1?", "chosen": "2", "rejected": "3"})]
        [True, False]
    """

    gives: ClassVar[Compares] = Compares.LABELLED

    prompt: str = "prompt"
    completion: str = "completion"
    label: str = "label"
    chosen: str = "chosen"
    rejected: str = "rejected"
    prompt_template: str = "{prompt}"
    completion_template: str = "{completion}"
    turn_marker: str = "\n\nAssistant:"
    control_tokens: bool = False
    texts: Optional[list[str]] = None

    def __post_init__(self) -> None:
        check_texts(self.texts, "UnpairedFormat")
        check_framing(self)

    @property
    def columns(self) -> Mapping[str, Column]:
        """The texts that are named."""
        return declared({}, self.texts)

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        """Check a row and turn it into one labelled completion, or two for a pair.

        Args:
            row: Columns by name.
            quote: As in `RowFormat.parse`.

        Raises:
            InputError: naming the field, as `RowFormat.parse` does, for a label that is none, and for a row that is
                both a labelled completion and a pair.
        """
        if not self._is_pair(row):
            (one,) = self._pairs(self.completion, self.completion).examples(row, quote)
            return [one._replace(completions=one.completions[:1], label=self._label(row))]
        for name in (self.completion, self.label):
            if value(row, name) is not None:
                raise InputError(f"fields `{name}` and `{self.chosen}`: a row is a labelled completion or a pair")
        (pair,) = self._pairs(self.chosen, self.rejected).examples(row, quote)
        return [
            pair._replace(completions=[each], label=label)
            for each, label in zip(pair.completions, (True, False), strict=True)
        ]

    def _is_pair(self, row: Mapping[str, Any]) -> bool:
        return any(value(row, name) is not None for name in (self.chosen, self.rejected))

    def _pairs(self, chosen: str, rejected: str) -> RowFormat:
        return RowFormat(
            self.prompt,
            chosen,
            rejected,
            prompt_template=self.prompt_template,
            completion_template=self.completion_template,
            turn_marker=self.turn_marker,
            control_tokens=self.control_tokens,
            texts=self.texts,
            as_messages=self.as_messages,
        )

    def _label(self, row: Mapping[str, Any]) -> bool:
        if not has(row, self.label):
            raise InputError(f"{missing(row, self.label)}: name one in data.format.label")
        label = value(row, self.label)
        if not isinstance(label, bool | int | float) or label not in (0, 1):
            shown = "null" if label is None else repr(label)
            raise InputError(
                f"field `{self.label}`: {shown:.40} is no label: true or 1 for desirable, false or 0 for not"
            )
        return bool(label)
