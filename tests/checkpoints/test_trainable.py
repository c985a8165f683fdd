"""The weights of a checkpoint: the trainable ones, and exactly those of the run."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from dpo_lightning.checkpoints.trainable import add_untrained, check_trainable, keep_trainable
from dpo_lightning.errors import InputError


class Holder(nn.Module):
    """A policy, a frozen module and a buffer of one's own, and the policy's head once more."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = nn.Sequential(OrderedDict(body=nn.Linear(1, 1), norm=nn.BatchNorm1d(1), head=nn.Linear(1, 1)))
        self.policy.body.bias.requires_grad_(False)
        self.judge = nn.Linear(1, 1).requires_grad_(False)
        self.head = self.policy.head
        self.again = self.policy.body
        self.register_buffer("mean", torch.zeros(()))


OWN = {"judge.weight", "judge.bias", "mean"}
TRAINED = {f"policy.{name}" for name in ("body.weight", "norm.weight", "norm.bias", "head.weight", "head.bias")}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_of_the_policy_frozen_weights_and_buffers_are_left_out(prefix: str) -> None:
    holder = Holder()
    state = holder.state_dict(prefix=prefix)

    keep_trainable(holder, state, prefix)

    assert state.keys() == {prefix + name for name in TRAINED | OWN}


def test_what_holds_the_module_finds_what_was_left_out() -> None:
    holder = Holder()
    state = holder.state_dict(prefix="module.")
    whole = set(state)
    keep_trainable(holder, state, "module.")

    add_untrained(holder, state, "module.")

    assert state.keys() == whole
    assert state["module.policy.body.bias"] is holder.policy.body.bias


def test_before_there_is_a_policy_all_is_kept() -> None:
    model = nn.Linear(1, 1).requires_grad_(False)
    state = model.state_dict()

    keep_trainable(model, state)

    assert state.keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    ("saved", "unexpected", "said"),
    [
        (["a"], [], r"1 missing \['b'\], 0 unexpected"),
        (["a", "b", "c"], ["c"], r"0 missing \[\], 1 unexpected \['c'\]"),
    ],
)
def test_other_weights_are_named(saved: list[str], unexpected: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_trainable(["a", "b"], saved, unexpected)


def test_the_same_weights_pass() -> None:
    assert check_trainable(["a", "b"], ["b", "a"], []) is None
