"""A compiled module is trained as it is, in a process without the suite's checks of types."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.helpers import runs
from tests.helpers.ranks import succeed
from tests.helpers.resumable import in_processes
from tests.helpers.tiny import tiny_llama


def train_both(_: int, path: Path) -> None:
    """The same two steps as they are and compiled."""
    weights = []
    for compiled in (False, True):
        torch.manual_seed(0)
        module = runs.module(tiny_llama(num_hidden_layers=1))
        fit = runs.trainer(max_steps=2, num_sanity_val_steps=0)
        fit.fit(torch.compile(module, backend="eager") if compiled else module, runs.data(path))
        weights.append(torch.cat([each.detach().flatten() for each in module.parameters()]))
        assert fit.global_step == 2
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-6)
    (path / "done").touch()


def test_torch_compile(tmp_path):
    succeed(in_processes(1, train_both, tmp_path, output=tmp_path), tmp_path)
    assert (tmp_path / "done").exists()
