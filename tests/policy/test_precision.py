"""The table of precisions against Lightning's own plugins."""

from __future__ import annotations

from typing import Any, get_args

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.plugins.precision import precision as lightning_names
from torch import nn

from dpo_lightning.policy.precision import precision_of


@pytest.mark.parametrize("flag", ["32", "64", "bf16", "bf16-mixed", "32-true", "bf16-true", "16-true", "64-true"])
@pytest.mark.filterwarnings("ignore:.*is supported for historical reasons:UserWarning")
def test_weights_are_what_lightning_casts_to_and_products_what_it_computes(flag: Any) -> None:
    plugin = pl.Trainer(accelerator="cpu", precision=flag, logger=False, barebones=True).precision_plugin
    layer = plugin.convert_module(nn.Linear(1, 1))
    with plugin.forward_context():
        is_mixed = torch.is_autocast_enabled("cpu")
        product = layer(torch.zeros(1, 1, dtype=layer.weight.dtype)).dtype

    found = precision_of(flag)
    assert found == precision_of(plugin.precision)
    assert (found.weights, found.products) == (layer.weight.dtype, product)
    assert found.autocast == (product if is_mixed else None)
    assert not found.replaces_linear


@pytest.mark.parametrize(
    ("name", "weights", "products"),
    [
        ("16-mixed", torch.float32, torch.float16),
        ("16", torch.float32, torch.float16),
        ("transformer-engine", torch.bfloat16, torch.bfloat16),
        ("transformer-engine-float16", torch.float16, torch.float16),
        (None, torch.float32, torch.float32),
        ("of-a-plugin", torch.float32, torch.float32),
    ],
)
def test_what_lightning_makes_on_no_cpu(name: str | None, weights: torch.dtype, products: torch.dtype) -> None:
    found = precision_of(name)
    assert (found.weights, found.products) == (weights, products)
    assert found.replaces_linear == ("engine" in (name or ""))


def test_each_of_lightnings_names_is_in_the_table() -> None:
    names = [*get_args(lightning_names._PRECISION_INPUT_STR), *get_args(lightning_names._PRECISION_INPUT_STR_ALIAS)]
    others = [name for name in names if precision_of(name) == precision_of(None)]
    assert len(names) > 8
    assert sorted(others) == ["32", "32-true"]
