"""Which of the two layouts a batch gets."""

from __future__ import annotations

from typing import Literal, NamedTuple

from dpo_lightning.collate import Collate, collate_padded, collate_tree
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
