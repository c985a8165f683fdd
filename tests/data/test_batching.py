"""Who decides on the layout."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dpo_lightning.data.batching import settle_layout
from dpo_lightning.errors import InputError


def module(problem: str | None) -> SimpleNamespace:
    return SimpleNamespace(tree_problem=lambda: problem)


def never() -> None:
    raise AssertionError("asked")


def test_auto_does_what_the_module_says():
    assert settle_layout("auto", module(None)) == ("tree", None, False)
    assert settle_layout("auto", module("it leaks")) == ("padded", "it leaks", True)


@pytest.mark.parametrize("stranger", [None, SimpleNamespace()])
def test_with_nobody_to_ask_auto_is_padded_which_is_no_problem(stranger):
    layout = settle_layout("auto", stranger)
    assert (layout.name, layout.problem) == ("padded", False)
    assert settle_layout("tree", stranger).name == "tree"


def test_tree_is_refused_where_it_is_wrong():
    assert settle_layout("tree", module(None)).name == "tree"
    with pytest.raises(InputError, match=r"data.layout tree: it leaks: set data.layout to padded or auto"):
        settle_layout("tree", module("it leaks"))


def test_padded_asks_nobody():
    assert settle_layout("padded", SimpleNamespace(tree_problem=never)) == ("padded", None, False)
