"""The batch settings of a DataModule -> the layout and the plan of its batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, cast

import numpy as np

from dpo_lightning.batch import Collate, collate_padded, collate_tree
from dpo_lightning.data.batch_plans import BatchPlan, ExamplePlan, OrderedTokenPlan, TokenPlan
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.mixing.epoch_rows import EpochRows
from dpo_lightning.errors import InputError

LayoutName = Literal["tree", "padded"]

COLLATE: dict[LayoutName, Collate] = {"tree": collate_tree, "padded": collate_padded}

_NOBODY_ASKED = "there is no PreferenceModule to ask whether the tree layout is right for its model"


class Layout(NamedTuple):
    """The layout in force.

    Attributes:
        name: `tree` or `padded`.
        reason: Why it is padded although nobody chose that; null otherwise.
        problem: Whether the reason is a finding about the model, which the user should know.
    """

    name: LayoutName
    reason: str | None = None
    problem: bool = False


def settle_layout(wanted: Literal["auto", "tree", "padded"], learner: PreferenceLearner | None) -> Layout:
    """Ask the learner whether the tree layout fits, unless the layout is padded anyway.

    Args:
        wanted: `auto` takes the tree layout where the learner says that it is right.
        learner: The module of the run, or None where there is nobody to ask.

    Raises:
        InputError: for `tree` where the learner names a problem.
    """
    if wanted == "padded":
        return Layout("padded")
    problem = None if learner is None else learner.tree_problem()
    if wanted == "tree":
        if problem is not None:
            raise InputError(f"data.layout tree: {problem}: set data.layout to padded or auto")
        return Layout("tree")
    if problem is not None:
        return Layout("padded", problem, problem=True)
    return Layout("padded", _NOBODY_ASKED) if learner is None else Layout("tree")


class Batching(NamedTuple):
    """How rows are put into batches, as a DataModule was told.

    Attributes:
        batch_pairs: Most examples of a batch; null for as many as have `batch_tokens` tokens.
        batch_tokens: Most tokens of a batch.
        length_grouped: Whether a shuffled batch has examples of similar length; null where the layout is padded.
        seed: Seed of the order.
    """

    batch_pairs: int | None
    batch_tokens: int | None
    length_grouped: bool | None
    seed: int

    def check_sought(self, names: list[str]) -> None:
        """Refuse to look for a batch size that is not in force; an InputError with the one that is."""
        own = {"batch_pairs": self.batch_pairs, "batch_tokens": self.batch_tokens}
        for name in names:
            if name in own and own[name] is None:
                (other,) = own.keys() - {name}
                raise InputError(
                    f"BatchSizeFinder: data.{name} is null, since data.{other} is in force: give "
                    f"batch_arg_name={other!r}, or set data.{name}"
                )

    def check_sought_in(self, stage: str, names: list[str], eval_batch_pairs: int | None) -> None:
        """Refuse to look for a batch size of training in an evaluation that has its own, or the other way round.

        Raises:
            InputError: with the size that the stage's batches go by.
        """
        own = {"batch_pairs": self.batch_pairs, "batch_tokens": self.batch_tokens}
        of_training = next(name for name, value in own.items() if value is not None)
        for name in names:
            other = of_training if stage == "fit" else "eval_batch_pairs"
            in_vain = name == "eval_batch_pairs" if stage == "fit" else name in own and eval_batch_pairs is not None
            if in_vain:
                raise InputError(
                    f"BatchSizeFinder: data.{name} makes no batch of this {stage}, whose size is data.{other}: give "
                    f"batch_arg_name={other!r}, or leave the search out here"
                )

    def check(self) -> None:
        """Refuse settings that contradict each other, before any data is read.

        Raises:
            InputError: naming both.
        """
        if self.batch_pairs is not None and self.batch_tokens is not None:
            raise InputError("data.batch_pairs and data.batch_tokens: give one of them, and null for the other")
        if self.batch_tokens is not None and self.length_grouped:
            raise InputError("data.length_grouped: with data.batch_tokens, batches have all lengths: leave it out")

    def groups(self, layout: LayoutName) -> bool:
        """Return whether batches have examples of similar length."""
        return layout == "padded" if self.length_grouped is None else self.length_grouped

    def plan(
        self,
        lengths: Lengths,
        layout: Layout,
        *,
        shuffle: bool,
        world_size: int,
        place: Callable[[int], str] = str,
        rows: EpochRows | None = None,
    ) -> BatchPlan:
        """Plan the batches of a split.

        Args:
            lengths: What is computed of each row.
            layout: The layout in force.
            shuffle: A new order each epoch.
            world_size: Number of data-parallel ranks.
            place: Names the row at a position of the split in messages.
            rows: The rows of each epoch; null for all.

        Raises:
            InputError: for a number of tokens in the padded layout, or for a row that has more, naming it.
        """
        if self.batch_pairs is None:
            self._check_tokens(lengths.tokens, layout, place)
            tokens, limit = lengths.tokens, cast(int, self.batch_tokens)
            if not shuffle:
                return OrderedTokenPlan(tokens, limit, world_size=world_size, rows=rows)
            return TokenPlan(tokens, limit, seed=self.seed, world_size=world_size, rows=rows)
        return ExamplePlan(
            lengths.tokens,
            self.batch_pairs,
            shuffle=shuffle,
            group_by=lengths.longest if self.groups(layout.name) else None,
            seed=self.seed,
            world_size=world_size,
            rows=rows,
        )

    def check_layout(self, layout: Layout) -> None:
        """Refuse a number of tokens in the padded layout; an InputError with the reason for it."""
        if self.batch_tokens is not None and layout.name == "padded":
            since = f", since {layout.reason}" if layout.reason else ""
            raise InputError(
                f"data.batch_tokens counts the tokens of the tree layout, and the layout is padded{since}: use "
                "data.batch_pairs"
            )

    def _check_tokens(self, tokens: np.ndarray, layout: Layout, place: Callable[[int], str]) -> None:
        self.check_layout(layout)
        longest = int(np.argmax(tokens))
        if tokens[longest] > cast(int, self.batch_tokens):
            raise InputError(
                f"data.batch_tokens {self.batch_tokens}: the pair of row {place(longest)} (from 0) has "
                f"{tokens[longest]} tokens: raise it, or lower data.max_length"
            )
