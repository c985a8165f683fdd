"""Each test here runs on a GPU where there is one, and its body on the CPU always."""

from __future__ import annotations

import pytest
import torch

from tests.gpu.devices import NEEDS_GPU


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)
