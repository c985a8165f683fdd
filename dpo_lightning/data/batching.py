"""The batch settings of a DataModule -> the layout and the plan of its batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from dpo_lightning.batch import Collate, collate_padded, collate_tree
from dpo_lightning.data.plans import BatchPlan, OrderedTokenPlan, PairPlan, TokenPlan
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    import datasets

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


def settle_layout(wanted: Literal["auto", "tree", "padded"], module: object) -> Layout:
    """Ask the module for ``tree_problem() -> str | None``, where it has one, unless the layout is padded anyway.

    Args:
        wanted: `auto` takes the tree layout where the module says that it is right.
        module: The LightningModule of the run, or None.

    Raises:
        InputError: for `tree` where the module names a problem.
    """
    if wanted == "padded":
        return Layout("padded")
    ask = getattr(module, "tree_problem", None)
    problem = ask() if ask is not None else None
    if wanted == "tree":
        if problem is not None:
            raise InputError(f"data.layout tree: {problem}: set data.layout to padded or auto")
        return Layout("tree")
    if problem is not None:
        return Layout("padded", problem, problem=True)
    return Layout("tree") if ask is not None else Layout("padded", _NOBODY_ASKED)


def check_batch_settings(batch_pairs: int | None, batch_tokens: int | None, length_grouped: bool | None) -> None:
    """Refuse settings that contradict each other, before any data is read.

    Raises:
        InputError: naming both.
    """
    if batch_pairs is not None and batch_tokens is not None:
        raise InputError("data.batch_pairs and data.batch_tokens: give one of them, and null for the other")
    if batch_tokens is not None and length_grouped:
        raise InputError("data.length_grouped: with data.batch_tokens, every batch has pairs of all lengths")


def plan_by_pairs(
    pairs: datasets.Dataset, batch_pairs: int, *, shuffle: bool, grouped: bool, seed: int, world_size: int
) -> BatchPlan:
    """Batches of at most so many pairs; ``grouped`` counts when shuffled."""
    return PairPlan(
        pairs["tokens"][:],
        batch_pairs,
        shuffle=shuffle,
        group_by=pairs["length"][:] if grouped else None,
        seed=seed,
        world_size=world_size,
    )


def plan_by_tokens(
    pairs: datasets.Dataset, batch_tokens: int, layout: Layout, *, shuffle: bool, seed: int, world_size: int
) -> BatchPlan:
    """Batches of at most so many tokens.

    Raises:
        InputError: in the padded layout, or for a pair that has more, naming its row.
    """
    if layout.name == "padded":
        since = f", since {layout.reason}" if layout.reason else ""
        raise InputError(
            f"data.batch_tokens counts the tokens of the tree layout, and the layout is padded{since}: use "
            "data.batch_pairs"
        )
    tokens = pairs["tokens"][:]
    longest = int(np.argmax(tokens))
    if tokens[longest] > batch_tokens:
        raise InputError(
            f"data.batch_tokens {batch_tokens}: the pair of row {pairs[longest]['pair_id']} (from 0) has "
            f"{tokens[longest]} tokens: raise it, or lower data.max_length"
        )
    if not shuffle:
        return OrderedTokenPlan(tokens, batch_tokens, world_size=world_size)
    return TokenPlan(tokens, batch_tokens, seed=seed, world_size=world_size)
