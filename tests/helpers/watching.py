"""What operations return and keep, seen from below."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tensors(TorchDispatchMode):
    """The floating tensors that operations return inside the block: the largest one, and which are still alive."""

    def __init__(self, wanted: Callable[[Tensor], bool] = lambda _: True) -> None:
        super().__init__()
        self.largest = 0
        self._wanted = wanted
        self._seen: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and self._wanted(leaf):
                self.largest = max(self.largest, leaf.numel())
                self._seen.append(weakref.ref(leaf))
        return result

    @property
    def alive_bytes(self) -> int:
        """Memory that is held by what was returned, each storage counted once."""
        alive = [tensor.untyped_storage() for reference in self._seen if (tensor := reference()) is not None]
        return sum({storage.data_ptr(): storage.nbytes() for storage in alive}.values())
