"""Base product and low-rank update as one operation, against float64 and numerical gradients."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dpo_lightning.policy.low_rank import LowRank, low_rank_products

SHAPES = ((24, 4), (16, 4), (8, 2))
"""Outputs and rank of layers that share an input of 12."""


def layers_in(dtype: torch.dtype, *, base: torch.dtype | None = None) -> list[LowRank]:
    torch.manual_seed(0)
    found = []
    for number, (outputs, rank) in enumerate(SHAPES):
        weight, bias = torch.randn(outputs, 12), torch.randn(outputs) if number else None
        down, up = torch.randn(rank, 12), torch.randn(outputs, rank)
        frozen = [None if each is None else each.to(base or dtype) for each in (weight, bias)]
        trained = [each.to(dtype).requires_grad_() for each in (down, up)]
        found.append(LowRank(frozen[0], frozen[1], *trained, scaling=0.75 + number))  # type: ignore[arg-type]
    return found


def exactly(layer: LowRank) -> LowRank:
    """The same in float64."""
    weight, down, up = (each.detach().double() for each in (layer.weight, layer.down, layer.up))
    bias = None if layer.bias is None else layer.bias.double()
    return LowRank(weight, bias, down.requires_grad_(), up.requires_grad_(), layer.scaling)


def separately(hidden: Tensor, layers: Sequence[LowRank]) -> tuple[Tensor, ...]:
    return tuple(
        F.linear(hidden, each.weight, each.bias) + each.scaling * (hidden @ each.down.T) @ each.up.T for each in layers
    )


def gradients(outputs: Sequence[Tensor], hidden: Tensor, layers: Sequence[LowRank]) -> list[Tensor]:
    """Of a sum with different factors, of hidden and of all A and B."""
    total = sum((output.double() * torch.arange(output.numel()).view_as(output).sin()).sum() for output in outputs)
    inputs = [hidden, *(each for layer in layers for each in (layer.down, layer.up))]
    return [grad.double() for grad in torch.autograd.grad(total, inputs, retain_graph=True)]  # type: ignore[arg-type]


def test_gradients_are_the_numerical_ones() -> None:
    layers, hidden = layers_in(torch.float64), torch.randn(2, 3, 12, dtype=torch.float64, requires_grad=True)
    trained = [each for layer in layers for each in (layer.down, layer.up)]

    def products(hidden: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        return low_rank_products(hidden, layers, torch.float64)

    torch.testing.assert_close(products(hidden), separately(hidden, layers))
    assert torch.autograd.gradcheck(products, (hidden, *trained))


@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16], ids=["float32 base", "bfloat16 base"])
def test_is_nearer_to_float64_than_autocast(base: torch.dtype) -> None:
    """Outputs and gradients in bfloat16, of float32 adapters and input: each error is at most that of the usual way."""
    layers, hidden = layers_in(torch.float32, base=base), torch.randn(1, 40, 12, requires_grad=True)
    exact = [exactly(layer) for layer in layers]
    wide = hidden.detach().double().requires_grad_()
    true = separately(wide, exact)
    with torch.autocast("cpu", torch.bfloat16):
        usual, ours = separately(hidden, layers), low_rank_products(hidden, layers, torch.bfloat16)

    assert {output.dtype for output in ours} == {torch.bfloat16}
    for mine, other, right in zip(
        [*ours, *gradients(ours, hidden, layers)],
        [*usual, *gradients(usual, hidden, layers)],
        [*true, *gradients(true, wide, exact)],
        strict=True,
    ):
        assert (mine - right).norm() <= 1.05 * (other - right).norm()
    assert {grad.dtype for grad in torch.autograd.grad(ours[0].sum(), [hidden, layers[0].up])} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_update_of_zero_is_the_base_to_the_last_bit(dtype: torch.dtype) -> None:
    layers = [each._replace(up=torch.zeros_like(each.up)) for each in layers_in(torch.float32)]
    hidden = torch.randn(50, 12)
    expected = [
        F.linear(hidden.to(dtype), each.weight.to(dtype), None if each.bias is None else each.bias.to(dtype))
        for each in layers
    ]

    assert all(map(torch.equal, low_rank_products(hidden, layers, dtype), expected))


def test_a_layer_without_a_gradient_costs_the_others_nothing() -> None:
    layers, hidden = layers_in(torch.float64), torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    (_, second, _), (_, expected, _) = low_rank_products(hidden, layers, torch.float64), separately(hidden, layers)
    inputs = [hidden, layers[1].down, layers[1].up, layers[0].up]
    found = torch.autograd.grad(second.sin().sum(), inputs, allow_unused=True)

    torch.testing.assert_close(found[:3], torch.autograd.grad(expected.sin().sum(), inputs[:3]))
    assert found[3] is None


def test_no_converted_weight_is_kept_for_the_backward() -> None:
    layers, hidden = layers_in(torch.float32), torch.randn(7, 12, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each) or each, lambda each: each):  # type: ignore[func-returns-value]
        low_rank_products(hidden, layers, torch.bfloat16)

    given = {id(each) for layer in layers for each in layer[:4]}
    own = [tuple(each.shape) for each in kept if id(each) not in given]
    assert sorted(own) == [(7, 10), (7, 12)]  # the input, once, and its products with all A


@pytest.mark.parametrize("shape", [(2, 3, 12), (3, 12), (12,), (0, 12)])
def test_a_model_may_change_a_product_in_place(shape: tuple[int, ...]) -> None:
    """As Llama 4 does with what its gate has let through."""
    layers, hidden = layers_in(torch.float64), torch.randn(shape, dtype=torch.float64)
    products = low_rank_products(hidden, layers, torch.float64)
    for found, expected in zip(products, separately(hidden, layers), strict=True):
        torch.testing.assert_close(found.mul_(2), 2 * expected)
