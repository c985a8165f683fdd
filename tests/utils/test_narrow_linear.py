"""A layer in a narrower dtype gives the numbers that it gave before, under any autocast and without."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dpo_lightning.utils.narrow_linear import NarrowLinear, narrow_linear, widen_linear

INPUT = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


def layer_of(*, rounded: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(8, 5).requires_grad_(False)
    return layer.bfloat16().float() if rounded else layer


def product(layer: nn.Module, autocast: torch.dtype | None) -> Tensor:
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        found: Tensor = layer(INPUT)
        return found


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16, None], ids=str)
@pytest.mark.parametrize("held", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("whole", [True, False])
def test_gives_the_same_numbers_to_the_last_bit(held: torch.dtype, autocast: torch.dtype | None, whole: bool) -> None:
    before = layer_of()
    layer = copy.deepcopy(before)
    assert narrow_linear(layer, held, keeps_finer=True, whole=whole)

    assert layer.weight.dtype == held
    assert layer.bias.dtype == (held if whole else torch.float32)
    assert torch.equal(product(layer, autocast), product(before, autocast))
    assert torch.equal(product(copy.deepcopy(layer), autocast), product(before, autocast))


def test_keeps_what_is_finer_or_leaves_it_alone() -> None:
    layer = layer_of(rounded=True)
    assert narrow_linear(layer, torch.bfloat16, keeps_finer=True)
    assert isinstance(layer, NarrowLinear)
    assert layer.finer is None
    finer = layer_of()
    assert not narrow_linear(finer, torch.bfloat16, keeps_finer=False)
    assert type(finer) is nn.Linear
    assert finer.weight.dtype == torch.float32


@pytest.mark.parametrize("rounded", [True, False])
def test_is_what_it_was_when_it_is_taken_back(rounded: bool) -> None:
    before, layer = layer_of(rounded=rounded), layer_of(rounded=rounded)
    narrow_linear(layer, torch.bfloat16, keeps_finer=True)
    assert isinstance(layer, NarrowLinear)
    widen_linear(layer)
    assert type(layer) is nn.Linear
    assert "finer" not in vars(layer)
    for name, value in layer.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before.state_dict()[name])


def test_is_one_graph_for_a_compiler() -> None:
    layer = layer_of()
    narrow_linear(layer, torch.bfloat16, keeps_finer=True)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    for autocast in (torch.bfloat16, None):
        assert torch.equal(product(compiled, autocast), product(layer, autocast))
