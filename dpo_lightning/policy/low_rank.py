"""Frozen products and their low-rank updates as one operation: x Wᵀ + b + s (x Aᵀ) Bᵀ (arXiv:2106.09685, eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class LowRank(NamedTuple):
    """A frozen linear layer of `I` inputs and `O` outputs, with an update of rank `r`.

    Attributes:
        weight: `[O, I]`, frozen.
        bias: `[O]`, frozen, or None.
        down: The update's first matrix A, `[r, I]`.
        up: Its second matrix B, `[O, r]`.
        scaling: Its factor s.
    """

    weight: Tensor
    bias: Tensor | None
    down: Tensor
    up: Tensor
    scaling: float


def low_rank_products(hidden: Tensor, layers: Sequence[LowRank], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return `x Wᵀ + b + s (x Aᵀ) Bᵀ` of each layer, `[..., O]`, for one input that they share.

    The input is converted and kept once, the products with all A are one, and no update is a tensor of its own: it is
    added inside a product. What a weight is converted to is not kept for the backward.

    Args:
        hidden: `[..., I]`.
        layers: The layers, all of `I` inputs.
        dtype: Dtype of the products and of what is returned; gradients come in each tensor's own.
    """
    scalings = tuple(layer.scaling for layer in layers)
    tensors = (tensor for layer in layers for tensor in layer[:4])
    products: tuple[Tensor, ...] = _LowRankProducts.apply(hidden, dtype, scalings, *tensors)
    return products


class _LowRankProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, dtype: torch.dtype, scalings: tuple[float, ...], *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        layers = _layers(scalings, tensors)
        inputs = hidden.reshape(-1, hidden.shape[-1]).to(dtype)
        inner = inputs @ _all_down(layers, dtype).T  # [N, sum of r]
        outputs = []
        for layer, part in zip(layers, inner.split([len(layer.down) for layer in layers], 1), strict=True):
            # No view is returned, so that a model may change it in place.
            outputs.append(inputs.new_empty(*hidden.shape[:-1], len(layer.weight)))
            output = outputs[-1].view(len(inputs), len(layer.weight))
            _product(inputs, layer, output)
            # Onto the base's own product: with B = 0 the layer is the base to the last bit.
            output.addmm_(part, _scaled_up(layer, dtype).T)
        ctx.dtype, ctx.scalings, ctx.shape, ctx.kind = dtype, scalings, hidden.shape, hidden.dtype
        ctx.save_for_backward(inputs, inner, *tensors)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        inputs, inner, *tensors = ctx.saved_tensors
        layers = _layers(ctx.scalings, tensors)
        parts = inner.split([len(layer.down) for layer in layers], 1)
        if all(grad is None for grad in grads):
            return (None,) * (3 + len(tensors))
        used = [number for number, grad in enumerate(grads) if grad is not None]
        flat = [grad.reshape(-1, grad.shape[-1]).to(ctx.dtype) for grad in grads if grad is not None]
        those = [layers[number] for number in used]
        found: list[Tensor | None] = [None] * len(tensors)
        for number, layer, grad in zip(used, those, flat, strict=True):
            found[4 * number + 3] = (parts[number].T @ grad).T.to(layer.up.dtype) * layer.scaling
        grad_inner = torch.cat(
            [grad @ _scaled_up(layer, ctx.dtype) for grad, layer in zip(flat, those, strict=True)], 1
        )
        grad_down = (grad_inner.T @ inputs).split([len(layer.down) for layer in those])
        for number, layer, part in zip(used, those, grad_down, strict=True):
            found[4 * number + 2] = part.to(layer.down.dtype)
        grad_hidden = None
        if ctx.needs_input_grad[0]:
            grad_hidden = _grad_hidden(those, flat, grad_inner, ctx.kind).view(ctx.shape)
        return (grad_hidden, None, None, *found)


def _product(inputs: Tensor, layer: LowRank, output: Tensor) -> None:
    """Write the base's product as `nn.Linear` computes it."""
    weight = layer.weight.to(inputs.dtype).T
    if layer.bias is None:
        torch.mm(inputs, weight, out=output)
    else:
        torch.addmm(layer.bias.to(inputs.dtype), inputs, weight, out=output)


def _grad_hidden(layers: Sequence[LowRank], grads: Sequence[Tensor], inner: Tensor, kind: torch.dtype) -> Tensor:
    """Return `Σ g W + u A` in the input's dtype, in which the products are added up where it is the wider one."""
    dtype = inner.dtype
    total = inner @ _all_down(layers, dtype)
    total.addmm_(grads[0], layers[0].weight.to(dtype))
    total = total.to(kind)
    for layer, grad in zip(layers[1:], grads[1:], strict=True):
        if kind == dtype:
            total.addmm_(grad, layer.weight.to(dtype))
        else:
            total.add_(grad @ layer.weight.to(dtype))
    return total


def _layers(scalings: Sequence[float], tensors: Sequence[Tensor | None]) -> list[LowRank]:
    fours: Any = zip(tensors[0::4], tensors[1::4], tensors[2::4], tensors[3::4], scalings, strict=True)
    return [LowRank(*each) for each in fours]


def _all_down(layers: Sequence[LowRank], dtype: torch.dtype) -> Tensor:
    """Return the first matrices under each other, `[sum of r, I]`."""
    downs = [layer.down for layer in layers]
    return (torch.cat(downs) if len(downs) > 1 else downs[0]).to(dtype)


def _scaled_up(layer: LowRank, dtype: torch.dtype) -> Tensor:
    return (layer.up * layer.scaling).to(dtype)
