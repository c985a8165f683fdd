"""The first values of a pruning."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import ModelPruning
from torch import nn

from dpo_lightning.compat.lightning_pruning import keep_first_values


def test_first_values_stay_while_the_weights_train():
    layer = nn.Linear(3, 3)
    pruning = ModelPruning("l1_unstructured", parameters_to_prune=[(layer, "weight")], amount=2)
    pruning.setup(None, nn.Sequential(layer), "fit")
    first = layer.weight.detach().clone()
    for _ in range(2):
        pruning._run_pruning(0)
        assert torch.equal(layer.weight_orig, first)
        keep_first_values(pruning)
        layer.weight_orig.data += 1
