r"""Settings of plain text, for formats of any rows: what is put around it, and what is taken off it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Optional

from dpo_lightning.data import text_templates
from dpo_lightning.data.columns import are_names
from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.no_preference import NoPreference
from dpo_lightning.data.formats.turns import repeats
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from dpo_lightning.utils.kinds import check_fields
from dpo_lightning.utils.text import one_line

_OF_TEXT = ("control_tokens", "prompt_template", "completion_template", "turn_marker")


@dataclass(frozen=True)
class FramedFormat(Format):
    r"""A format whose prompts and completions may be plain text.

    Rows of messages, to which these settings mean nothing, are refused beside one of them; `texts` aside.

    Args:
        prompt_template: Text around a plain-text prompt; `{prompt}` stands for it, every other name in braces for the
            text of that column, as in `{prompt}\n{input?}`: with a question mark, null is an empty text. Without
            `{prompt}` the columns that it names are the prompt, as in `{instruction}\n{input}`.
        completion_template: Text around a plain-text completion; `{completion}` stands for it.
        turn_marker: What opens the assistant's turns in plain-text dialogues with an implicit prompt.
        control_tokens: Take control tokens that plain text spells, such as `<|im_start|>`, for the tokenizer's own: for
            rows to which a chat template was applied already. Otherwise they stay text.
        texts: Columns of text, such as `[source, category]`, that go along in `PreferenceBatch.texts`: for metrics of
            your own, and beside predicted rewards.
        repeats_prompt: True where text completions begin with the prompt, which is then taken off, and false where they
            begin with the same words and these stay. Null takes it off where all of the first rows begin with it.
    """

    prompt_template: str = field(default="{prompt}", kw_only=True)
    completion_template: str = field(default="{completion}", kw_only=True)
    turn_marker: str = field(default="\n\nAssistant:", kw_only=True)
    control_tokens: bool = field(default=False, kw_only=True)
    texts: Optional[list[str]] = field(default=None, kw_only=True)
    repeats_prompt: Optional[bool] = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self._check_texts()
        self._check_framing()

    @property
    def framing(self) -> dict[str, Any]:
        """Settings that say how text is read, by name: those above but the texts, and `as_messages`."""
        names = [each.name for each in fields(FramedFormat) if each.name not in ("ignore", "system", "texts")]
        return {name: getattr(self, name) for name in names}

    def check_of_text(self) -> None:
        """Refuse a row of messages where settings say how text is read.

        Raises:
            InputError: naming the setting.
        """
        for name in _OF_TEXT:
            if getattr(self, name) != getattr(FramedFormat, name):
                raise _of_text(name)

    @abstractmethod
    def written(self, row: Mapping[str, Any]) -> tuple[Any, Sequence[Any]]:
        """Return the prompt of a row and its completions as they stand in it."""

    def found_in(self, rows: Sequence[Mapping[str, Any]], wanted: Compares | None = None) -> Format:
        """Return this format, with `repeats_prompt` where the text completions of all rows begin with their prompt.

        Raises:
            InputError: where those of most rows do, and nothing is said of it; where it is said, and all are messages.
        """
        if self.repeats_prompt is not None:
            if rows and all(map(self._has_messages, rows)):
                raise _of_text("repeats_prompt")
            return self
        said = [each for row in rows if (each := self._repeats(row)) is not None]
        if not said or sum(said) * 2 <= len(said):
            return self
        if not all(said):
            raise InputError(
                f"the completions of {sum(said)} of the first {len(said)} rows begin with their prompt, the others do "
                "not: set data.format.repeats_prompt: true to take it off and refuse the others, or false to train on "
                "the texts as they are"
            )
        return replace(self, repeats_prompt=True)

    def _check_texts(self) -> None:
        name, given = f"{type(self).__name__}.texts", self.texts
        if isinstance(given, str):
            raise InputError(f"{name}: name a list of columns, got {given!r}: write [{one_line(given)}]")
        if given is not None and not are_names(given):
            raise InputError(f"{name}: name a list of columns, got {one_line(repr(given), 80)}")

    def _check_framing(self) -> None:
        """Refuse a setting of another kind, a template without its field, and no turn marker."""
        name = type(self).__name__
        check_fields(self, f"{name}.")
        for template, field_name in (("prompt_template", "prompt"), ("completion_template", "completion")):
            given = getattr(self, template)
            found = text_templates.fields(given) if isinstance(given, str) else []  # a path is text elsewhere
            of_columns = field_name == "prompt" == getattr(self, "prompt", None) and found and field_name not in found
            if found.count(field_name) != 1 and not of_columns:
                raise InputError(
                    f"{name}.{template} must contain {{{field_name}}} once, got {one_line(repr(given), 80)}"
                )
        if not self.turn_marker:
            raise InputError(f"{name}.turn_marker must not be empty")

    def _repeats(self, row: Mapping[str, Any]) -> bool | None:
        try:
            return repeats(*self.written(row))
        except (InputError, NoPreference):
            return None  # the reader says what is wrong with the row

    def _has_messages(self, row: Mapping[str, Any]) -> bool:
        try:
            return any(isinstance(each, list | Mapping) for each in self.written(row)[1])
        except (InputError, NoPreference):
            return False


def _of_text(name: str) -> InputError:
    return InputError(f"format.{name} is for rows of text: the rows are messages, so leave it out")
