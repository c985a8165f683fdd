"""`data.clean`: rows that are left out of the training rows before they are put into batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Optional

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.data.cleaning.near import near_duplicates
from dpo_lightning.data.cleaning.repeats import contradictory, duplicates, shared_with
from dpo_lightning.data.cleaning.tokens import Decode, ExampleTokens
from dpo_lightning.data.cleaning.words import squeezed
from dpo_lightning.data.mixing.reading import SplitTables
from dpo_lightning.errors import InputError
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.settings import require

if TYPE_CHECKING:
    import datasets

_NAMED = 5  # rows that a line of the log quotes


class LeftOut(NamedTuple):
    """Training examples that are left out for one reason.

    Attributes:
        reason: The words of the log.
        which: Places among the training examples, `[left out]`.
    """

    reason: str
    which: np.ndarray


@dataclass(frozen=True)
class Clean:
    """Kinds of training rows that are left out. Examples are compared by their tokens, as they are trained on.

    Rows of validation and test stay as they are, so that numbers of different runs can be compared. Several sources
    are looked at together: of a repeat, the first one stays, in the order of the sources.

    Args:
        identical: Leave out pairs whose completions differ in white space or in capital letters alone. (Those that do
            not differ at all are never trained on.)
        contradictory: Leave out both of two pairs that have one prompt and the sides swapped, and a completion that has
            both labels.
        duplicates: Leave out what repeats an example before it: `exact`, or `near`, which has 0.7 of the runs of three
            tokens in common with it, in the prompt as in the completions, or the same text but for white space and
            capital letters.
        contaminated: Leave out what shares its prompt and a completion with an example of validation or test; with
            `duplicates: near` also what is a near-duplicate of one.
    """

    identical: bool = False
    contradictory: bool = False
    duplicates: Optional[Literal["exact", "near"]] = None
    contaminated: bool = False

    def __post_init__(self) -> None:
        require(self, "data.clean")

    @property
    def cleans(self) -> bool:
        """True where anything is asked for."""
        return bool(self.identical or self.contradictory or self.duplicates or self.contaminated)

    def __call__(
        self, rows: Mapping[str, datasets.Dataset], place: str, decode: Decode, sizes: Mapping[str, int] | None = None
    ) -> SplitTables:
        """Leave rows out of `train`, and say how many, and of which source.

        Args:
            rows: Tokenised rows by split; those that are not `train` are held out.
            place: The training rows, as messages name them.
            decode: Makes text of tokens.
            sizes: How many of them are of each source, by name and in their order; None without sources.

        Raises:
            InputError: when nothing is left, also of one source.
        """
        sizes = sizes or {}
        if not self.cleans:
            return SplitTables(dict(rows), sizes)
        tokens = ExampleTokens.of_rows(rows["train"])
        held_out = [ExampleTokens.of_rows(each) for name, each in rows.items() if name != "train"]
        if self.duplicates == "near":
            tokens, *held_out = (each.with_words(decode) for each in (tokens, *held_out))
        left = np.ones(len(tokens), dtype=bool)
        said = []
        for found in self.left_out(tokens, held_out, decode):
            new = found.which[left[found.which]]
            left[new] = False
            if len(new):
                said.append(f"{len(new)} {found.reason} ({_named(tokens.rows, new, sizes)})")
        ends = np.cumsum([0, *sizes.values()])
        kept = {name: int(left[start:end].sum()) for name, start, end in zip(sizes, ends, ends[1:], strict=False)}
        report = f"{place}: data.clean left out {'; '.join(said) or 'nothing'}; {left.sum()} of {len(left)} are left"
        if kept:
            report += f": {', '.join(f'{kept[name]} of {sizes[name]} of {name}' for name in kept)}"
        if not left.any() or 0 in kept.values():
            raise InputError(report)
        rank_zero_info(report)
        return SplitTables({**rows, "train": rows["train"].select(np.flatnonzero(left))}, kept)

    def left_out(self, tokens: ExampleTokens, held_out: Sequence[ExampleTokens], decode: Decode) -> Iterator[LeftOut]:
        """Yield what is left out, reason by reason; an example may have several.

        Args:
            tokens: The training examples.
            held_out: Those of validation and test.
            decode: Makes text of tokens.
        """
        if self.identical:
            yield LeftOut("whose completions are the same words", identical(tokens, decode))
        if self.contradictory:
            yield LeftOut("that another one contradicts", np.flatnonzero(contradictory(tokens)))
        if self.duplicates is not None:
            first = near_duplicates(tokens) if self.duplicates == "near" else duplicates(tokens)
            kind = "near-duplicates" if self.duplicates == "near" else "duplicates"
            yield LeftOut(kind, np.flatnonzero(first != np.arange(len(first))))
        if self.contaminated and held_out:
            yield LeftOut("that are held out too", self._contaminated(tokens, ExampleTokens.joined(held_out)))

    def _contaminated(self, tokens: ExampleTokens, held_out: ExampleTokens) -> np.ndarray:
        found = shared_with(tokens, held_out)
        if self.duplicates == "near":
            found |= near_to(tokens, held_out)
        return np.flatnonzero(found)


def checked_clean(given: object) -> Clean:
    """Return what is to be left out; nothing for null.

    Raises:
        InputError: for what is no `Clean`.
    """
    if given is None:
        return Clean()
    if not isinstance(given, Clean):
        raise wrong_kind("data.clean", given, Clean, "write Clean(duplicates='exact'), with its settings as arguments")
    return given


def identical(tokens: ExampleTokens, decode: Decode) -> np.ndarray:
    """Return the places of examples whose completions differ in white space or in capital letters alone."""
    several = np.flatnonzero(tokens.counts > 1)
    found = []
    for example in several.tolist():
        spans = range(tokens.starts[example], tokens.starts[example + 1])
        texts = decode([tokens.completions.one(each).tolist() for each in spans])
        if len(set(map(squeezed, texts))) == 1:
            found.append(example)
    return np.array(found, dtype=np.int64)


def near_to(tokens: ExampleTokens, others: ExampleTokens) -> np.ndarray:
    """Return which examples are near-duplicates of one of the others, `[examples]` bool."""
    group = near_duplicates(ExampleTokens.joined([others, tokens]))
    return np.isin(group[len(others) :], group[: len(others)])


def _named(rows: np.ndarray, which: np.ndarray, sizes: Mapping[str, int]) -> str:
    """Name source rows of examples, source by source where there are several."""
    if not sizes:
        return f"rows {_first(rows[which])}, from 0"
    of = np.searchsorted(np.cumsum([*sizes.values()]), which, side="right")
    said = [
        f"{(of == number).sum()} of {name}: rows {_first(rows[which[of == number]])}"
        for number, name in enumerate(sizes)
        if (of == number).any()
    ]
    return f"{'; '.join(said)}; from 0"


def _first(rows: np.ndarray) -> str:
    different = np.unique(rows)
    return ", ".join([*map(str, different[:_NAMED].tolist()), *["..."] * (len(different) > _NAMED)])
