"""The weights of a checkpoint: the trainable ones, and exactly those of the run."""

from __future__ import annotations

import pytest
from torch import nn

from dpo_lightning.checkpoints.trainable import check_trainable, trainable_only
from dpo_lightning.errors import InputError


def test_frozen_weights_and_buffers_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    model[0].bias.requires_grad_(False)

    assert trainable_only(model, model.state_dict()).keys() == {"0.weight", "1.weight", "1.bias"}


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
