"""Each test here runs on a GPU where there is one, and its body on the CPU always."""

from __future__ import annotations

import os

# torch reads it at the first product of a process, and never again: runs that are deterministic need it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import pytest
import torch

from tests.gpu.devices import NEEDS_GPU


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)
