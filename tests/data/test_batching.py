"""The layout and the plan of batches: who decides on them, and what a run makes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from datasets import Dataset

from dpo_lightning import DPO
from dpo_lightning.batch import Collate, PreferenceBatch
from dpo_lightning.data.batching import settle_layout
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.errors import InputError
from tests.data.common import (
    MIXED,
    PAIRS,
    TOKENS,
    Fits,
    data,
    everywhere,
    flat,
    ids,
    ready,
    rows,
    run,
)


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


# In a run


@pytest.mark.parametrize("layout", ["auto", "tree"])
@pytest.mark.parametrize("reads_steps", [False, True], ids=["", "estimated_stepping_batches"])
def test_every_stage_has_the_layout_that_fits(layout, reads_steps):
    module = Fits(reads_steps=reads_steps)
    everywhere(module, data(val_split="train[:5]", layout=layout))
    assert module.trees == {True}
    assert module.asked_on


def test_a_layout_that_does_not_fit_is_said_once_and_replaced():
    module = Fits("its states leak")
    with pytest.warns(UserWarning, match="layout") as caught:
        everywhere(module, data(val_split="train[:5]"))
    told = [str(warning.message) for warning in caught if "layout" in str(warning.message)]
    assert told == ["layout: padded, since its states leak"]
    assert module.trees == {False}


def test_a_layout_that_does_not_fit_is_refused_where_it_was_asked_for():
    with pytest.raises(InputError, match=r"data.layout tree: its states leak: set data.layout to padded or auto"):
        run(Fits("its states leak"), data(layout="tree"))


def test_nobody_is_asked_where_padding_was_asked_for():
    module = Fits("its states leak")
    everywhere(module, data(val_split="train[:5]", layout="padded"))
    assert module.trees == {False}
    assert module.asked_on == []


def test_another_module_is_asked_again():
    source = data()
    run(Fits(), source, max_epochs=1)
    second = Fits("its states leak")
    with pytest.warns(UserWarning, match="its states leak"):
        run(second, source, max_epochs=1)
    assert second.trees == {False}


@pytest.mark.parametrize(
    ("layout", "length_grouped", "grouped"),
    [("tree", None, False), ("padded", None, True), ("tree", True, True), ("padded", False, False)],
)
def test_lengths_are_grouped_where_there_is_padding_unless_asked_for(layout, length_grouped, grouped):
    source = ready(Dataset.from_list(rows(400)), layout=layout, length_grouped=length_grouped)
    lengths = source.splits.lengths("train").longest.tolist()
    spreads = [
        max(found) - min(found) for batch in ids(source.train_dataloader()) if (found := [lengths[i] for i in batch])
    ]
    assert (sum(spreads) / len(spreads) < 2) == grouped
    assert source.state_dict()["length_grouped"] == grouped


def tokens_of(batch: PreferenceBatch) -> int:
    """What the tree layout has in its row."""
    return batch.input_ids.numel()


def test_batches_of_tokens():
    source = ready(**TOKENS, val_split="train[:9]")
    for loader in (source.train_dataloader(), source.val_dataloader()):
        sizes = [tokens_of(batch) for batch in loader]
        assert max(sizes) <= 60
        assert sum(sizes) / len(sizes) > 0.8 * 60
    assert sorted(flat(source.train_dataloader())) == list(range(PAIRS))
    assert flat(source.val_dataloader()) == list(range(9))
    assert len({batch.examples for batch in source.train_dataloader()}) > 1
    assert ids(ready(**TOKENS, val_split="train[:9]", eval_batch_pairs=6).val_dataloader()) == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8],
    ]


def test_a_pair_beyond_the_budget_is_named():
    source = Dataset.from_list([*MIXED[5:7], *rows(8), {"prompt": "a" * 40, "chosen": "b", "rejected": "c"}])
    with pytest.raises(
        InputError,
        match=r"data.batch_tokens 40: the pair of row 10 \(from 0\) has 44 tokens: raise it, or lower data.max_length",
    ):
        ready(source, **{**TOKENS, "batch_tokens": 40}).train_dataloader()


def test_tokens_are_not_counted_in_the_padded_layout():
    with pytest.raises(InputError, match=r"the layout is padded: use data.batch_pairs"):
        ready(**{**TOKENS, "layout": "padded"}).train_dataloader()
    with pytest.raises(
        InputError, match=r"the layout is padded, since there is no PreferenceModule to ask .*: use data"
    ):
        ready(**{**TOKENS, "layout": "auto"}).train_dataloader()
    with (
        pytest.warns(UserWarning, match="its states leak"),
        pytest.raises(InputError, match=r"the layout is padded, since its states leak: use data.batch_pairs"),
    ):
        run(Fits("its states leak"), data(**{**TOKENS, "layout": "auto"}))
