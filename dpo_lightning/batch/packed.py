"""Tensors of a batch in one buffer: they reach another device, or pinned memory, as one copy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")

# Kernels are chosen, and compiled, for pointers that are multiples of 16; a cache line is 64 bytes.
_ALIGNED = 64


class Written:
    """An array of int64 that is made in its place in a buffer: nobody copies it.

    Args:
        shape: Its shape.
        write: Fills an array of that shape.
    """

    dtype = np.dtype(np.int64)

    def __init__(self, shape: tuple[int, ...], write: Callable[[np.ndarray], Any]) -> None:
        self.shape = shape
        self.write = write
        self.nbytes = math.prod(shape) * self.dtype.itemsize

    def made(self) -> np.ndarray:
        """Return the array by itself."""
        array = np.empty(self.shape, self.dtype)
        self.write(array)
        return array


def packed(values: T) -> T:
    """Return a mapping or a named tuple with tensors in place of its arrays, which are views of one buffer.

    Args:
        values: Has arrays of int64, int32 or bool, or `Written` ones, within named tuples and mappings too.
    """
    arrays: list[np.ndarray | Written] = [*_leaves(values, _ARRAYS)]
    stops = [*accumulate(-(-each.nbytes // _ALIGNED) * _ALIGNED for each in arrays)]
    memory = np.empty(stops[-1] + _ALIGNED, dtype=np.uint8)
    memory = memory[-memory.ctypes.data % _ALIGNED :][: stops[-1]]
    buffer = torch.from_numpy(memory)
    typed = {kind: buffer.view(name) for kind, name in _TYPES.items()}
    tensors = []
    for array, start in zip(arrays, [0, *stops], strict=False):
        there = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        if isinstance(array, Written):
            array.write(there)
        else:
            np.copyto(there, array)
        strides = [each // there.itemsize for each in there.strides]
        tensors.append(typed[array.dtype].as_strided(array.shape, strides, start // there.itemsize))
    result: T = _replaced(values, _ARRAYS, iter(tensors))
    return result


_ARRAYS = (np.ndarray, Written)
_TYPES = {np.dtype(np.int64): torch.int64, np.dtype(np.int32): torch.int32, np.dtype(np.bool_): torch.bool}


def moved(batch: T, move: Callable[[Tensor], Tensor]) -> T:
    """Return a named tuple with its tensors moved, those within named tuples and mappings too.

    Tensors that fill one buffer move as one. Others, such as a tensor of your own, move one by one.

    Args:
        batch: The named tuple.
        move: Moves a tensor, without a change of its type.
    """
    tensors = [*_leaves(batch, Tensor)]
    for places in _together(tensors):
        group = [tensors[place] for place in places]
        there = _as_one(group, move) if _fill_a_buffer(group) else [*map(move, group)]
        for place, each in zip(places, there, strict=True):
            tensors[place] = each
    result: T = _replaced(batch, Tensor, iter(tensors))
    return result


_Layout = tuple[torch.dtype, tuple[int, ...], tuple[int, ...], int]
"""dtype, shape, stride and offset of a tensor in a buffer."""


class _View(NamedTuple):
    """A tensor as a part of a buffer, or a whole tensor, which has no layout."""

    number: int
    layout: _Layout | None = None


def pickled(value: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return what `__reduce__` of a named tuple returns: a buffer is pickled once, as bytes.

    Its tensors apart would be several dtypes in one storage, which `torch.save` refuses.
    """
    tensors = [*_leaves(value, Tensor)]
    if not tensors:
        return type(value), tuple(value)
    held: list[Tensor] = []
    views = [_View(0)] * len(tensors)
    for places in _together(tensors):
        is_buffer = _fill_a_buffer([tensors[place] for place in places])
        for number, place in enumerate(places, len(held)):
            views[place] = _View(len(held), _layout(tensors[place])) if is_buffer else _View(number)
        held += [_buffer_of(tensors[places[0]])] if is_buffer else [tensors[place] for place in places]
    return _restored, (_replaced(value, Tensor, iter(views)), held)


def _restored(value: Any, held: list[Tensor]) -> Any:
    views = [*_leaves(value, _View)]
    tensors = (held[each.number] if each.layout is None else _seen(held[each.number], each.layout) for each in views)
    return _replaced(value, _View, tensors)


def _together(tensors: list[Tensor]) -> list[list[int]]:
    """Return the places of the tensors of each storage."""
    together: dict[int, list[int]] = {}
    for place, each in enumerate(tensors):
        together.setdefault(id(each.untyped_storage()), []).append(place)
    return [*together.values()]


def _fill_a_buffer(group: list[Tensor]) -> bool:
    """True where the tensors are half of one buffer or more: views of something large would take all of it along."""
    size = group[0].untyped_storage().nbytes()
    held = sum(each.nbytes + _ALIGNED for each in group)
    return len(group) > 1 and size % _ALIGNED == 0 and size <= 2 * held


def _as_one(group: list[Tensor], move: Callable[[Tensor], Tensor]) -> list[Tensor]:
    buffer = _buffer_of(group[0])
    there = move(buffer)
    if there is buffer:
        return group
    return [_seen(there, _layout(each)) for each in group]


def _buffer_of(tensor: Tensor) -> Tensor:
    """Return all bytes of the tensor's storage."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


def _layout(tensor: Tensor) -> _Layout:
    return tensor.dtype, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())


def _seen(buffer: Tensor, layout: _Layout) -> Tensor:
    dtype, shape, stride, offset = layout
    return buffer.view(dtype).as_strided(shape, stride, offset)


def _leaves(value: Any, kind: type[Any] | tuple[type[Any], ...]) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif hasattr(value, "_fields"):
        for each in value:
            yield from _leaves(each, kind)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _leaves(each, kind)


def _replaced(value: Any, kind: type | tuple[type, ...], leaves: Iterator[Any]) -> Any:
    """The value with other leaves, in the order of `_leaves`."""
    if isinstance(value, kind):
        return next(leaves)
    if hasattr(value, "_fields"):
        return type(value)(*[_replaced(each, kind, leaves) for each in value])
    if isinstance(value, Mapping):
        return {name: _replaced(each, kind, leaves) for name, each in value.items()}
    return value
