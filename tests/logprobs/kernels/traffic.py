"""Bytes that a head's operations read and write, by their tensors alone."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ALLOCATE = ("empty", "new_empty", "empty_like")
# The sums of earlier tiles are touched where a shift moves, in a few tiles of a row; of the weights, rows are picked.
_PARTLY = (("fold_tile", "weighted"), ("index_select", "self"))
_OVERWRITE = ("out", "copy_", "fill_", "coefficients_of_tile")


class Traffic(TorchDispatchMode):
    """Counts bytes inside the block: of an elementwise operation all, of a product those of logits.

    Args:
        width: `D`: a factor or a sum of a product that has it is no logits.

    Attributes:
        bytes: Read and written.
        flops: Of products.
        operations: How often each operation ran.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bytes, self.flops, self.operations = 0, 0, Counter[str]()
        self._width = width
        self._writes: list[tuple[torch.dtype, int, int]] = []
        self._made: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        made = result if isinstance(result, Tensor) else None
        if name in _ALLOCATE and made is not None:
            self._made.append(weakref.ref(made))
        elif not func.is_view and name not in ("detach", "device"):
            self.operations[name] += 1
            self._count(func, name, args, kwargs or {}, made)
        if "mm" in name:
            left, right = [each for each in args if isinstance(each, Tensor)][-2:]
            self.flops += 2 * left.shape[0] * left.shape[1] * right.shape[1]
        return result

    def _count(self, func: Any, name: str, args: Any, kwargs: Any, made: Tensor | None) -> None:
        is_product, written = "mm" in name, False
        for argument, value in _tensors(func, args, kwargs):
            writes = argument.alias_info is not None and argument.alias_info.is_write
            if name == "fold_tile" and argument.name == "raw" and not args[-1]:
                writes = False
            if writes:
                self._writes.append((value.dtype, value.untyped_storage().nbytes() // value.itemsize, value.numel()))
                written = True
            if (is_product and self._width in value.shape) or (name, argument.name) in _PARTLY:
                continue
            overwrites = writes and (argument.is_out or name in _OVERWRITE)
            self.bytes += value.numel() * value.element_size() * (2 if writes and not overwrites else 1)
        if made is not None and not written and not (is_product and self._width in made.shape):
            self.bytes += made.numel() * made.element_size()

    def written_into(self, *shape: int) -> dict[torch.dtype, int]:
        """Return how many numbers were written into tensors that are as large as this shape, by dtype."""
        found = Counter[torch.dtype]()
        for dtype, whole, part in self._writes:
            found[dtype] += part if whole == torch.Size(shape).numel() else 0
        return {dtype: count for dtype, count in found.items() if count}

    def alive(self, *shape: int) -> int:
        """Return how many tensors of a shape that were allocated inside the block are still there."""
        tensors = (made() for made in self._made)
        return sum(tensor is not None and tensor.shape == shape for tensor in tensors)


def _tensors(func: Any, args: Any, kwargs: Any) -> Iterator[tuple[Any, Tensor]]:
    for position, argument in enumerate(func._schema.arguments):
        value = args[position] if position < len(args) else kwargs.get(argument.name)
        if isinstance(value, Tensor):
            yield argument, value
