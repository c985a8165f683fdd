"""Examples as formats make them."""

from __future__ import annotations

from dpo_lightning.data import Example


def test_a_pair_has_the_chosen_completion_first_and_a_labelled_completion_stands_alone():
    assert Example.pair("p", "a", "b", margin=1.0) == Example("p", ["a", "b"], None, {"margin": 1.0})
    assert Example.labelled("p", "a", True) == Example("p", ["a"], [True])
