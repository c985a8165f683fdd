"""Devices of a test: what a GPU has to show, and a case or two on the CPU, so that a slip does not wait for a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch

NEEDS_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def every(names: str, *values: Sequence[Any], cpu: Sequence[tuple[Any, ...]]) -> pytest.MarkDecorator:
    """All combinations of values on a GPU, and those of `cpu` on the CPU; `names` are of the values alone."""
    on_cpu = [pytest.param("cpu", *case) for case in cpu]
    on_gpu = [pytest.param("cuda", *case, marks=NEEDS_GPU) for case in product(*values)]
    return pytest.mark.parametrize(f"device, {names}", on_cpu + on_gpu, indirect=["device"])
