"""A meter of what a step asks of a device: launches, products, bytes, memory, and waits of the host.

It runs on fake tensors, which have shapes and dtypes and no memory, so that models of any size can be measured on any
machine. It counts what the code asks for, operation by operation; it knows nothing of caches, and nothing of time.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

PACKAGE = "dpo_lightning"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Operations that make no kernel run: they allocate, or give memory another shape.
_NO_KERNEL = _names(
    "empty empty_like new_empty empty_strided new_empty_strided empty_permuted detach alias _unsafe_view lift_fresh "
    "_reshape_alias set_ resize_ sym_size is_pinned is_same_size"
)
# Operations that give the host a value or a shape that the device has computed: the host waits for all before it.
_WAITS = _names(
    "_local_scalar_dense item nonzero nonzero_static equal is_nonzero masked_select unique _unique _unique2 unique_dim "
    "unique_consecutive bincount allclose"
)
# Matrix products, and the place of their first factor.
_FACTORS = {"mm": 0, "bmm": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1, "baddbmm_": 1}
# Kernels of one operation where they are more than one: sorts, scans, and the parts of attention's backward.
_KERNELS = {"index_put_": 8, "index_put": 8, "_index_put_impl_": 8, "embedding_dense_backward": 8, "sort": 4}
_KERNELS |= {"_varlen_attn_backward": 5, "repeat_interleave": 3}
# Of operations over lists, from torch's MultiTensorApply.cuh; by how many lists they take.
_PIECE, _PIECES_A_LAUNCH, _TENSORS_A_LAUNCH = 65536, 320, (110, 64, 48, 36, 30)
_MADE = _names("zeros zeros_like new_zeros full full_like new_full ones ones_like new_ones arange")
_WRITTEN_WHOLE = _names("copy_ fill_ zero_ normal_ uniform_ random_ bernoulli_")
_PICKED = _names("index_select embedding gather index")


class Operation(NamedTuple):
    """One operation of a step.

    Attributes:
        phase: Part of the step that it ran in.
        name: Name of the operation, without its namespace.
        launches: Kernels that it starts.
        flops: Floating-point operations of a matrix product; 0 of everything else.
        attention: Those of attention, whose products stay in its kernel.
        bytes: Memory that it reads and writes, each operand once.
        waits: Place in the package at which the host waits for it, or in what it calls; None where it does not.
    """

    phase: str
    name: str
    launches: int
    flops: float
    attention: float
    bytes: int
    waits: str | None = None


@dataclass
class Sum:
    """What the operations of a phase, or of a step, come to; products and elementwise bytes apart."""

    launches: int = 0
    flops: float = 0.0
    attention: float = 0.0
    elementwise: int = 0
    products: int = 0
    waits: list[str] = field(default_factory=list)

    def add(self, operation: Operation) -> None:
        """Add one."""
        self.launches += operation.launches
        self.flops += operation.flops
        self.attention += operation.attention
        if operation.flops:
            self.products += operation.bytes
        else:
            self.elementwise += operation.bytes
        self.waits += [operation.waits] if operation.waits is not None else []


class Meter(TorchDispatchMode):
    """Counts the operations inside it, each under the `phase` of its time; enter it inside a `FakeTensorMode`.

    Where the host asks for a value, it gets 0, and the wait is counted: the values of fake tensors are not known.

    Args:
        visible: Pairs of a query and a key that it sees, of a batch: attention's work, which no shape tells.

    Attributes:
        operations: The operations since `begin`, until `stop`, in their order.
        phase: Name that the next ones get.
        live: Bytes of the memory that was allocated inside, and is still held.
        peak: The most of it, by phase.
    """

    def __init__(self, visible: int = 0) -> None:
        super().__init__()
        self.visible = visible
        self.operations: list[Operation] = []
        self.phase = "before"
        self.live = 0
        self.peak: dict[str, int] = {}
        self._held: dict[int, int] = {}
        self._inside: str | None = None
        self._counts = False

    def begin(self, phase: str) -> None:
        """Count from here on, beginning anew."""
        self.operations, self.peak, self.phase, self._counts = [], {}, phase, True

    def enter(self, phase: str) -> None:
        """Count what comes under another phase."""
        self.phase = phase

    def stop(self) -> None:
        """Count no more."""
        self._counts = False

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Take the memory of tensors for what was there before."""
        self._held |= {tensor.untyped_storage()._cdata: 0 for tensor in tensors}

    @contextmanager
    def part(self, phase: str) -> Iterator[None]:
        """Count what runs inside the block under another phase."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    @contextmanager
    def one_kernel(
        self, name: str, reads: Iterable[Tensor | None], writes: Iterable[Tensor | None] = ()
    ) -> Iterator[list[Tensor]]:
        """Count everything inside the block as one kernel, which reads and writes these tensors, each once.

        For kernels that cannot run on fake tensors, such as Triton's: run the formula in their place. Tensors that the
        formula makes, put into the list that the block gets.
        """
        made: list[Tensor] = []
        outer, self._inside = self._inside, name
        try:
            yield made
        finally:
            self._inside = outer
        if outer is None:
            size = sum(_bytes(each) for each in [*reads, *writes, *made] if each is not None)
            self._count(Operation(self.phase, name, 1, 0.0, 0.0, size))

    def sums(self) -> dict[str, Sum]:
        """Return the sums by phase, in their order."""
        found: dict[str, Sum] = {}
        for operation in self.operations:
            found.setdefault(operation.phase, Sum()).add(operation)
        return found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and count it."""
        kwargs = kwargs or {}
        name = func._schema.name.rpartition("::")[2]
        if name == "_local_scalar_dense" and isinstance(args[0], FakeTensor):
            return self._asked(args[0])
        if name == "equal":
            self._count(Operation(self.phase, name, 1, 0.0, 0.0, sum(map(_bytes, args[:2])), _place()))
            return True
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            self._hold(tensor)
        if not func._schema.name.startswith("prim") and name not in _NO_KERNEL and not _is_view(func._schema):
            waits = _place() if name in _WAITS or _takes_mask(name, args) else None
            size = _moved(name, func._schema, args, kwargs, out)
            work = (_launches(name, args), _flops(name, args), self._attention(name, args))
            self._count(Operation(self.phase, name, *work, size, waits))
        return out

    def _count(self, operation: Operation) -> None:
        if self._counts and self._inside is None:
            self.operations.append(operation)

    def _attention(self, name: str, args: tuple[Any, ...]) -> float:
        """Return attention's work: two products forward; five backward, where the scores are computed again."""
        if "varlen_attn" not in name:
            return 0.0
        query = args[1] if "backward" in name else args[0]
        return (10.0 if "backward" in name else 4.0) * self.visible * query.shape[-2] * query.shape[-1]

    def _asked(self, tensor: FakeTensor) -> Any:
        known = getattr(tensor, "constant", None)
        if known is not None:  # a number of the host's
            with _disable_current_modes():
                return known.item()
        place = _place()
        if place is None:
            return 1.0  # a step of torch's optimizers, which they keep on the host
        # What comes after a wait and before the next kernel is there already: a list of numbers is one wait.
        if not (self.operations and self.operations[-1].waits == place):
            self._count(Operation(self.phase, "item", 1, 0.0, 0.0, tensor.element_size(), place))
        return 0.0 if tensor.dtype.is_floating_point else tensor.dtype != torch.bool and 0

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._held:
            self._held[key] = size
            self.live += size
            weakref.finalize(storage, self._release, key)
        self.peak[self.phase] = max(self.peak.get(self.phase, 0), self.live)

    def _release(self, key: int) -> None:
        self.live -= self._held.pop(key, 0)


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of the memory that a tensor shows, a broadcast axis once."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride or not size else 1
    return elements * tensor.element_size()


def _is_view(schema: Any) -> bool:
    given_back = any(each.alias_info is not None and not each.alias_info.is_write for each in schema.returns)
    return given_back and not any(_is_written(each) for each in schema.arguments)


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _only_divided(name: str, argument: Any, kwargs: Mapping[str, Any]) -> bool:
    """Return whether these are gradients that a fused optimizer writes only where it divides them by a scale."""
    return name.startswith("_fused") and argument.name == "grads" and kwargs.get("grad_scale") is None


def _takes_mask(name: str, args: tuple[Any, ...]) -> bool:
    """Return whether rows are picked by a boolean mask, whose number the host must know."""
    if not name.startswith(("index", "_index")) or len(args) < 2 or not isinstance(args[1], list | tuple):
        return False
    return any(isinstance(each, Tensor) and each.dtype == torch.bool for each in args[1])


def _moved(name: str, schema: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> int:
    """Return the bytes that an operation reads and writes."""
    made = sum(map(_bytes, _tensors(out)))
    if name in _MADE:
        return made
    if name in _PICKED:
        return 2 * made
    if name.startswith(("index_put", "_index_put")):
        return 3 * _bytes(args[2])
    if name == "embedding_dense_backward":
        return _bytes(args[0]) + made
    read = written = 0
    for place, argument in enumerate(schema.arguments):
        given = args[place] if place < len(args) else kwargs.get(argument.name)
        # The sum of the tiles before is read only where a row's largest logit has changed: in the first few tiles.
        if name == "fold_tile" and argument.name == "weighted":
            continue
        size = sum(map(_bytes, _tensors(given)))
        written += size if _is_written(argument) and not _only_divided(name, argument, kwargs) else 0
        is_read = not (_is_written(argument) and (argument.is_out or name in _WRITTEN_WHOLE))
        read += size if is_read else 0
    return read + (written or made)


def _launches(name: str, args: tuple[Any, ...]) -> int:
    """Return the kernels of an operation; those over lists take so many tensors and pieces of them at a time."""
    if not name.startswith(("_foreach", "_fused")):
        return _KERNELS.get(name, 1)
    lists = [each for each in args if isinstance(each, list | tuple) and each and isinstance(each[0], Tensor)]
    pieces = sum(-(-each.numel() // _PIECE) for each in lists[0])
    tensors = _TENSORS_A_LAUNCH[min(len(lists), len(_TENSORS_A_LAUNCH)) - 1]
    return max(-(-pieces // _PIECES_A_LAUNCH), -(-len(lists[0]) // tensors))


def _flops(name: str, args: tuple[Any, ...]) -> float:
    """Return those of a matrix product."""
    if name not in _FACTORS:
        return 0.0
    left, right = args[_FACTORS[name] : _FACTORS[name] + 2]
    return 2.0 * left.numel() * right.shape[-1]


def _place() -> str | None:
    """Return the line of the package, or of what it calls, at which the host asks; None in torch's optimizers.

    Those keep their step counts on the host, as tensors.
    """
    frame: Any = sys._getframe(2)
    found = None
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if "optim" in path.parts and "torch" in path.parts:
            return None
        if PACKAGE in path.parts:
            return f"{path.name}:{frame.f_code.co_name}"
        if found is None and "torch" not in path.parts and path.stem not in ("meter", "trace"):
            found = f"{path.name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return found or "torch"
