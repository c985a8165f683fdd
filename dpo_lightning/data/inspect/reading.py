"""Rows -> what the doctor looks at: every row is read, and one that is not understood stops nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_lightning.data.control_tokens import CLOSE, OPEN, ControlTokens
from dpo_lightning.data.formats import Example, Format
from dpo_lightning.data.inspect.survey import Refused, Seen, Split
from dpo_lightning.data.tokenize import ExampleTokenizer, Outcome, RenderedExample
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

_BLOCK = 256
_WATCHED = 1000  # rows of which it is noted which columns are read
_LONGEST_VALUE = 40  # characters of what may name a source
_BOUNDARIES = 2000  # examples whose texts are tokenised once more as one
_NO_LIMIT = 1 << 30


class ExampleReader(ABC):
    """Makes tokens, or what stands for them, of the examples of rows."""

    quote: Callable[[str], str]

    @abstractmethod
    def read(self, examples: Sequence[tuple[int, Example]]) -> list[Seen | Refused]:
        """Return what is seen of each example, which comes with its row, or why it is refused."""


class TokenReader(ExampleReader):
    """Reads examples as a training run would.

    Args:
        tokenizer: A Hugging Face tokenizer.
        max_length: Most tokens of prompt and completion together.
        max_prompt_length: Most tokens of the prompt.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, max_prompt_length: int | None = None
    ) -> None:
        self._fitting = ExampleTokenizer(tokenizer, max_length, max_prompt_length)
        self._whole = ExampleTokenizer(tokenizer, _NO_LIMIT)
        self._control = ControlTokens(tokenizer)
        self._boundaries = _BOUNDARIES
        self.quote = self._fitting.quote

    def read(self, examples: Sequence[tuple[int, Example]]) -> list[Seen | Refused]:
        """Tokenise examples, cut to the lengths of the run; those that are cut are counted whole as well."""
        found: list[Seen | Refused | None] = []
        rendered: list[RenderedExample] = []
        for row, example in examples:
            try:
                rendered.append(self._fitting.render(example, row))
                found.append(None)
            except InputError as error:
                found.append(Refused(row, str(error)))
        seen = iter(self._seen(rendered))
        return [next(seen) if each is None else each for each in found]

    def _seen(self, rendered: Sequence[RenderedExample]) -> list[Seen]:
        encoded = self._fitting.encode(rendered)
        cut = [each for each, fitted in zip(rendered, encoded, strict=True) if fitted.truncated]
        whole = iter(self._whole.encode(cut))
        merged = self._merged(rendered)
        seen = []
        for text, fitted, is_merged in zip(rendered, encoded, merged, strict=True):
            ids = fitted.example
            lengths = next(whole).example if fitted.truncated else ids
            seen.append(
                Seen(
                    text.row,
                    _unquoted(text.prompt),
                    [_unquoted(_spoken(each)) for each in text.source.completions],
                    ids.labels[0] if ids.labels else None,
                    {},
                    text.templated,
                    text.quotes,
                    _array(ids.prompt_ids),
                    [_array(each) for each in ids.completion_ids],
                    fitted.outcome,
                    fitted.truncated,
                    (len(lengths.prompt_ids), *map(len, lengths.completion_ids)),
                    is_merged,
                )
            )
        return seen

    def _merged(self, rendered: Sequence[RenderedExample]) -> list[bool | None]:
        """Return of the first examples whether the tokens of prompt and completion together begin with the prompt's."""
        looked_at = rendered[: self._boundaries]
        self._boundaries -= len(looked_at)
        prompts = self._control.encode([each.prompt for each in looked_at])
        joint = iter(self._control.encode([each.prompt + text for each in looked_at for text in each.completions]))
        merged: list[bool | None] = []
        for each, prompt in zip(looked_at, prompts, strict=True):
            begins = [next(joint)[: len(prompt)] == prompt for _ in each.completions]
            merged.append(not all(begins))
        return merged + [None] * (len(rendered) - len(looked_at))


class WordReader(ExampleReader):
    """Reads examples without a tokenizer: a word stands for a token, and nothing is cut."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._words: list[str] = []
        self.quote = str

    def read(self, examples: Sequence[tuple[int, Example]]) -> list[Seen | Refused]:
        """Number the words of examples."""
        return [self._seen(row, example) for row, example in examples]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words with a space between them."""
        return " ".join(self._words[each] for each in ids)

    def _seen(self, row: int, example: Example) -> Seen:
        prompt, texts = _spoken(example.prompt), [_spoken(each) for each in example.completions]
        ids = [self._ids(text) for text in (prompt, *texts)]
        whole = tuple(map(len, ids))
        outcome = Outcome.KEPT if all(text.strip() for text in texts) else Outcome.EMPTY_COMPLETION
        if outcome == Outcome.KEPT and len(texts) > 1 and len(set(texts)) == 1:
            outcome = Outcome.IDENTICAL
        templated = not isinstance(example.prompt, str)
        return Seen(
            row,
            prompt,
            texts,
            example.labels[0] if example.labels else None,
            {},
            templated,
            False,
            ids[0],
            ids[1:],
            outcome,
            False,
            whole,
        )

    def _ids(self, text: str) -> np.ndarray:
        found = []
        for word in text.split():
            number = self._numbers.setdefault(word, len(self._words))
            if number == len(self._words):
                self._words.append(word)
            found.append(number)
        return _array(found)


class Watched(Mapping[str, Any]):
    """A row that notes which of its columns are read.

    Args:
        row: Columns by name.
        read: Names of the columns that were read, to which it adds.
    """

    def __init__(self, row: Mapping[str, Any], read: set[str]) -> None:
        self._row = row
        self._read = read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._row[name]

    def __contains__(self, name: object) -> bool:
        return name in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)


def read_split(
    rows: Dataset,
    row_format: Format,
    reader: ExampleReader,
    place: str,
    *,
    most_rows: int | None = None,
    seed: int = 0,
    advance: Callable[[int], Any] = lambda count: None,
) -> Split:
    """Read the rows of a split.

    Args:
        rows: The split.
        row_format: Finds the examples in a row.
        reader: Makes tokens of them.
        place: The split as messages name it.
        most_rows: Read a sample of so many rows where there are more; null reads all.
        seed: Seed of the sample.
        advance: Is told how many rows were read.
    """
    numbers = np.arange(len(rows))
    if most_rows is not None and len(rows) > most_rows:
        numbers = np.sort(np.random.default_rng(seed).choice(numbers, most_rows, replace=False))
    examples: list[Seen] = []
    refused: list[Refused] = []
    read: set[str] = set()
    filled: Counter[str] = Counter()
    for start in range(0, len(numbers), _BLOCK):
        block = numbers[start : start + _BLOCK].tolist()
        table = rows[block]
        parsed: list[tuple[int, Example]] = []
        kept_values: dict[int, dict[str, str]] = {}
        for place_in_block, number in enumerate(block):
            row = {name: values[place_in_block] for name, values in table.items()}
            filled.update(name for name, value in row.items() if not _is_empty(value))
            kept_values[number] = {name: value for name, value in row.items() if _may_name_a_source(value)}
            watched = Watched(row, read) if start + place_in_block < _WATCHED else row
            try:
                parsed += [(number, example) for example in row_format.examples(watched, reader.quote)]
            except InputError as error:
                refused.append(Refused(number, str(error)))
        for seen in reader.read(parsed):
            if isinstance(seen, Refused):
                refused.append(seen)
            else:
                examples.append(seen._replace(values=kept_values[seen.row]))
        advance(len(block))
    names = [name for name in rows.column_names if name in read]
    unread = {name: count for name, count in filled.items() if name not in read} if examples else {}
    return Split(place, len(rows), len(numbers), examples, refused, names, unread)


def _may_name_a_source(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_VALUE


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _spoken(part: Any) -> str:
    """Return a text, or what messages say without what a template puts around it."""
    if isinstance(part, str):
        return part
    contents = (message.get("content") for message in part)
    return "\n\n".join(content if isinstance(content, str) else str(content) for content in contents if content)


def _unquoted(text: str) -> str:
    return text.replace(OPEN, "").replace(CLOSE, "")


def _array(ids: Sequence[int]) -> np.ndarray:
    return np.array(ids, dtype=np.int32)
