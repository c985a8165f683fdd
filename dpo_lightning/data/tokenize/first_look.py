"""A look at rows of a split before they are tokenised: what nobody reads, and text that meets a chat model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from dpo_lightning.data.control_tokens import OPEN
from dpo_lightning.data.formats import Example, Format
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.data.formats.messages import is_blank
from dpo_lightning.data.formats.recorded import Path, shown_path
from dpo_lightning.data.formats.template_inputs import ARGUMENTS, TOOLS
from dpo_lightning.data.formats.unread import Looked, check_known, look_at, told
from dpo_lightning.data.tokenize.examples import ExampleTokenizer
from dpo_lightning.data.tokenize.template_use import (
    leaves_words,
    message_keys,
    reads_tools,
    unread_arguments,
    unread_keys,
)
from dpo_lightning.errors import InputError, prefixed

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase


TEMPLATE_LEAVES = "the chat template leaves, of the messages,"


def look_first(rows: datasets.Dataset, row_format: Format, encode: ExampleTokenizer, place: str) -> datasets.Dataset:
    """Return the rows without the columns that the format ignores, after a look at some of them.

    Some hundred rows are read, and those columns counted that hold what nobody reads: two columns of text cost
    nothing, however many rows there are.

    Args:
        rows: The split.
        row_format: Finds the examples in a row.
        encode: Tokenises them.
        place: The split as messages name it.

    Raises:
        InputError: for a column that nobody reads and whose name says what it means.
    """
    ignored = set(row_format.ignore or ())
    columns = ignored.intersection(rows.column_names)
    rows = rows.remove_columns(sorted(columns))
    if not rows.column_names:
        raise InputError(f"{place}: data.format.ignore leaves no column to read")
    looked = look_at(rows, row_format, lambda row: read_examples(row_format, row, encode.quote))
    if looked is not None:  # otherwise a row cannot be read, which is the first thing to say
        look = Look(rows, row_format, encode.tokenizer, looked, frozenset(ignored - columns))
        with prefixed(f"{place}: "):
            look.refuse()
        look.tell_unread(place)
        look.tell_of_text(place)
        _tell_of_words(looked.examples, encode, place)
    return rows


def _tell_of_words(examples: Sequence[Example], encode: ExampleTokenizer, place: str) -> None:
    """Warn of words of answers that the chat template leaves out: nobody trains on them."""
    try:
        left = sum(leaves_words(encode.render(each, 0)) for each in examples)
    except InputError:  # of which tokenising tells, with its row
        return
    if left:
        rank_zero_warn(
            f"{place}: the chat template leaves out words of the answers in {left} of {len(examples)} examples looked "
            "at, such as thoughts, or a text beside a call, which are not trained on: give another template in "
            "data.chat_template, or take them out"
        )


@dataclass(frozen=True)
class Look:
    """A look at rows, beside the settings that it is compared with; `ignored` are names of parts of columns."""

    rows: datasets.Dataset
    row_format: Format
    tokenizer: PreTrainedTokenizerBase
    looked: Looked
    ignored: frozenset[str]

    def refuse(self) -> None:
        """Refuse to pass over what means something, and to ignore what is read.

        Raises:
            InputError: naming the column or the key.
        """
        check_known(self._unread, self.row_format, self.rows)
        if any(each.tools for each in self.looked.examples) and not reads_tools(self.tokenizer):
            remedy = f", or leave them out by data.format.ignore: [{TOOLS}]" if TOOLS in self.rows.column_names else ""
            raise InputError(
                f"the rows have tools (column `{TOOLS}`), and the chat template writes none: give one that does in "
                f"data.chat_template{remedy}"
            )
        left = tuple(f"{shown_path(path)}." for path in self.looked.unread)
        read = {name for name in map(shown_path, self.looked.found) if not f"{name}.".startswith(left)}
        read |= message_keys(self.looked.examples) - {*self._keys}
        for name in sorted(self.ignored & read):
            raise InputError(f"data.format.ignore: `{name}` is read: take it out of the data, or out of the list")

    @cached_property
    def unread_by(self) -> Mapping[str, Mapping[str, Sequence[Path]]]:
        """The places of each field that nobody reads, by its name, by who leaves it."""
        arguments = {*unread_arguments(self.tokenizer, self.looked.examples)} - self.ignored
        return {
            f"{type(self.row_format).__name__} leaves": {shown_path(path): [path] for path in self._unread},
            TEMPLATE_LEAVES: {key: self._places(key) for key in self._keys if key not in self.ignored},
            "the chat template has no variable": {name: [(ARGUMENTS, name)] for name in sorted(arguments)},
        }

    def tell_unread(self, place: str) -> None:
        """Name what nobody reads, in one line: a warning where an answer says less than the data."""
        kinds = self.unread_by
        said = [f"{who} {told(names, self.looked.found, self.rows)}" for who, names in kinds.items() if names]
        if said:
            tell = rank_zero_warn if any(not is_blank({key: "x"}) for key in kinds[TEMPLATE_LEAVES]) else rank_zero_info
            tell(f"{place}: not read (in so many rows): {'; '.join(said)}")

    def tell_of_text(self, place: str) -> None:
        """Warn of text that has a chat template already, or meets a model that has one."""
        texts = [[each.prompt, *each.completions] for each in self.looked.examples if isinstance(each.prompt, str)]
        spelled = sum(any(OPEN in part for part in each) for each in texts)
        if spelled * 2 > len(texts) and hasattr(self.row_format, "control_tokens"):
            rank_zero_warn(
                f"{place}: most rows spell control tokens, which stay text: where a chat template was applied to them "
                "already, set data.format.control_tokens: true"
            )
        elif texts and getattr(self.tokenizer, "chat_template", None) is not None and not is_meant(self.row_format):
            rank_zero_warn(
                f"{place}: the rows are plain text, and the tokenizer has a chat template, which is not put around it: "
                "set data.format.as_messages: true to write prompt and answers as messages, or false to train on the "
                "text as it is"
            )

    @property
    def _unread(self) -> list[Path]:
        return [path for path in self.looked.unread if shown_path(path) not in self.ignored]

    @cached_property
    def _keys(self) -> list[str]:
        """Keys of messages that hold values and that the template does not write."""
        return unread_keys(self.tokenizer, self.looked.examples)

    def _places(self, key: str) -> list[Path]:
        """Return the paths to a key of messages: none where the format gave it another name."""
        return sorted({path[: path.index(key) + 1] for path in self.looked.found if key in path[1:]})


def is_meant(row_format: Format) -> bool:
    """Return whether the format says what stands around its text."""
    frames = {"prompt_template": "{prompt}", "completion_template": "{completion}"}
    framed = any(getattr(row_format, name, bare) != bare for name, bare in frames.items())
    return row_format.as_messages is not None or getattr(row_format, "control_tokens", False) or framed
