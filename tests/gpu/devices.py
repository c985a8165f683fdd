"""Devices of a test: what a GPU has to show, and a case or two on the CPU, so that a slip does not wait for a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

NEEDS_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def every(names: str, *values: Sequence[Any], cpu: Sequence[tuple[Any, ...]]) -> pytest.MarkDecorator:
    """All combinations of values on a GPU, and those of `cpu` on the CPU; `names` are of the values alone."""
    on_cpu = [pytest.param(CPU, *case) for case in cpu]
    on_gpu = [pytest.param(CUDA, *case, marks=NEEDS_GPU) for case in product(*values)]
    return pytest.mark.parametrize(f"device, {names}", on_cpu + on_gpu, ids=_named)


def _named(value: Any) -> str | None:
    return value.type if isinstance(value, torch.device) else None


def moved(value: Any, device: torch.device) -> Any:
    """A batch, a tree or a tensor on a device."""
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), value)


@contextmanager
def no_waits(device: torch.device) -> Iterator[None]:
    """Fail inside the block where the host waits for a GPU."""
    if device.type != "cuda":
        yield
        return
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)
