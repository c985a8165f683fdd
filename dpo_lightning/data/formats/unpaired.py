"""A row of a dataset -> labelled completions of a prompt; a row with a pair has two of them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Optional, cast

from dpo_lightning.batch import Column
from dpo_lightning.batch.columns import checked_number
from dpo_lightning.data.column_paths import has, missing, value
from dpo_lightning.data.columns import declared
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.decoded import decoded
from dpo_lightning.data.formats.example import Example
from dpo_lightning.data.formats.framed import FramedFormat
from dpo_lightning.data.formats.labels import is_desirable, is_signed
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.spans import with_spans
from dpo_lightning.data.formats.spelling import respelled
from dpo_lightning.data.formats.turns import with_input
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares


@dataclass(frozen=True)
class UnpairedFormat(FramedFormat):
    r"""A row with a completion and its label, for objectives such as KTO, which need no pairs.

    A label is true or false, 1 or 0, 1 or -1, or a word for it, such as yes, good or 👍. A row that has a pair
    instead, in the columns `chosen` and `rejected`, becomes a prompt with a desirable and an undesirable completion; a
    file may hold rows of both kinds. A row without the prompt column holds whole dialogues: those of a pair are split
    as in `RowFormat`, a single one before its last assistant turn. The settings of plain text are those of
    `FramedFormat`.

    Args:
        prompt: Column of the prompt: text, or a list of messages.
        completion: Column of the completion, or of the whole dialogue.
        label: Column of the label: whether the completion is desirable.
        chosen: Column of a pair's preferred completion.
        rejected: Column of a pair's other completion.
        spans: Column with the characters of the completion that count, as in `RowFormat`.
        threshold: Labels are numbers, such as stars: those above it are desirable, those below it are not, and rows
            with just that many are dropped and counted.
        labels: Further labels and whether they say desirable: `{helpful: true, harmful: false}`.
        roles: Names of the roles of messages beside the known ones, as in `PairFormat`.
        json_columns: Columns of text that hold JSON, such as lists of messages.
        input: Column of a further text of the prompt, as in `PairFormat`.

    Example:
        >>> read = UnpairedFormat(completion="answer", label="thumbs_up")
        >>> read.examples({"prompt": "1 + 1?", "answer": "2", "thumbs_up": 1})[0].labels
        [True]
        >>> read.examples({"prompt": "1 + 1?", "chosen": "2", "rejected": "3"})[0].labels
        [True, False]
    """

    gives: ClassVar[Compares] = Compares.LABELLED

    prompt: str = "prompt"
    completion: str = "completion"
    label: str = "label"
    chosen: str = "chosen"
    rejected: str = "rejected"
    spans: Optional[str] = None
    threshold: Optional[float] = None
    labels: Optional[dict[str, bool]] = None
    roles: Optional[dict[str, str]] = None
    json_columns: Optional[list[str]] = None
    input: Optional[str] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None:
            checked_number(self.threshold, "UnpairedFormat.threshold")

    @property
    def columns(self) -> Mapping[str, Column]:
        """The texts that are named."""
        return declared({}, self.texts)

    def found_in(self, rows: Sequence[Mapping[str, Any]], wanted: Compares | None = None) -> Format:
        """Return this format, settled by the first rows.

        It has a `threshold` of 0 where labels are 1 and -1, and `repeats_prompt` where text completions begin with
        their prompt.
        """
        signed = self.threshold is None and is_signed([value(row, self.label) for row in rows])
        found = replace(self, threshold=0.0) if signed else self
        return super(UnpairedFormat, found).found_in(rows, wanted)

    def written(self, row: Mapping[str, Any]) -> tuple[Any, Sequence[Any]]:
        """Return the prompt of a row and its completions as they stand in it."""
        read = self._respelled(decoded(row, self.json_columns))
        names = (self.chosen, self.rejected) if self._is_pair(read) else (self.completion,)
        return value(read, self.prompt), [value(read, name) for name in names]

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        """Check a row and turn it into a prompt with a labelled completion, or with two for a pair.

        Args:
            row: Columns by name.
            quote: As in `RowFormat.parse`.

        Raises:
            InputError: naming the field, as `RowFormat.parse` does, for a label that is none, and for a row that is
                both a labelled completion and a pair.
        """
        row = self._respelled(decoded(row, self.json_columns))
        if not self._is_pair(row):
            (one,) = self._pairs(self.completion, self.completion).examples(row, quote)
            single = one._replace(completions=one.completions[:1], labels=[self._label(row)])
            return [with_spans(single, row, [self.spans], self.completion_template) if self.spans else single]
        for name in (self.completion, self.label):
            if value(row, name) is not None:
                raise InputError(f"fields `{name}` and `{self.chosen}`: a row is a labelled completion or a pair")
        if self.spans:
            raise InputError(f"data.format.spans: a row with a pair in `{self.chosen}` has no spans for each of them")
        (pair,) = self._pairs(self.chosen, self.rejected).examples(row, quote)
        return [pair._replace(labels=[True, False])]

    def _is_pair(self, row: Mapping[str, Any]) -> bool:
        return any(value(row, name) is not None for name in (self.chosen, self.rejected))

    def _pairs(self, chosen: str, rejected: str) -> RowFormat:
        return RowFormat(
            self.prompt,
            chosen,
            rejected,
            texts=self.texts,
            **self.framing,
        )

    def _label(self, row: Mapping[str, Any]) -> bool:
        if not has(row, self.label):
            raise InputError(f"{missing(row, self.label)}: name one in data.format.label")
        return is_desirable(value(row, self.label), f"field `{self.label}`", self.labels, self.threshold)

    def _respelled(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        names = (self.prompt, self.completion, self.chosen, self.rejected)
        there = {name: found for name in names if (found := value(row, name)) is not None}
        read = {name: respelled(found, f"field `{name}`", self.roles) for name, found in there.items()}
        if self.input is not None and self.prompt in read:
            read[self.prompt] = with_input(self.prompt, read[self.prompt], self.input, value(row, self.input))
        return ChainMap(read, cast(dict[str, Any], row))
