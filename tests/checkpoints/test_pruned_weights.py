"""Masks that go on."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import prune

from dpo_lightning.checkpoints.pruned_weights import hidden_values, masks, prune_again


def test_what_was_pruned_is_pruned_again_with_what_it_hid():
    pruned = nn.Sequential(nn.Linear(4, 4))
    plain = nn.Sequential(nn.Linear(4, 4))
    prune.l1_unstructured(pruned[0], "weight", amount=5)
    plain[0].weight.data = pruned[0].weight.detach().clone()
    plain[0].bias.data = pruned[0].bias.detach().clone()
    prune_again(plain, masks(pruned), hidden_values(pruned))
    states = pruned.state_dict(), plain.state_dict()
    assert states[0].keys() == states[1].keys() == {"0.bias", "0.weight_orig", "0.weight_mask"}
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert int((states[1]["0.weight_mask"] == 0).sum()) == 5


def test_what_is_not_pruned_has_no_masks():
    assert masks(nn.Linear(2, 2)) == hidden_values(nn.Linear(2, 2)) == {}
