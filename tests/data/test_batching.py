"""Who decides on the layout."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dpo_lightning import DPO
from dpo_lightning.batch import Collate
from dpo_lightning.data.batching import settle_layout
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.errors import InputError


class Learner(PreferenceLearner):
    """Has an answer to one question."""

    policy_name = None

    def __init__(self, ask: Callable[[], str | None]) -> None:
        self.ask = ask

    def tree_problem(self) -> str | None:
        return self.ask()

    def data_read(self) -> DataRead:
        return DataRead.by(DPO())

    def with_reference(self, collate: Collate) -> Collate:
        return collate


def module(problem: str | None) -> Learner:
    return Learner(lambda: problem)


def never() -> None:
    raise AssertionError("asked")


def test_auto_does_what_the_module_says():
    assert settle_layout("auto", module(None)) == ("tree", None, False)
    assert settle_layout("auto", module("it leaks")) == ("padded", "it leaks", True)


def test_with_nobody_to_ask_auto_is_padded_which_is_no_problem():
    layout = settle_layout("auto", None)
    assert (layout.name, layout.problem) == ("padded", False)
    assert settle_layout("tree", None).name == "tree"


def test_tree_is_refused_where_it_is_wrong():
    assert settle_layout("tree", module(None)).name == "tree"
    with pytest.raises(InputError, match=r"data.layout tree: it leaks: set data.layout to padded or auto"):
        settle_layout("tree", module("it leaks"))


def test_padded_asks_nobody():
    assert settle_layout("padded", Learner(never)) == ("padded", None, False)
