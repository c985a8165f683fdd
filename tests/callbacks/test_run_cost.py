"""What a fit is about to need, as far as it can be told without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from dpo_lightning.callbacks import run_cost
from dpo_lightning.callbacks.run_cost import cost_of, kept_by, workload
from dpo_lightning.data.lengths import Lengths
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import PAIRS


def test_a_batch_of_equal_examples_has_the_tokens_of_the_rows() -> None:
    lengths = Lengths.of_examples(PAIRS)
    work = workload(lengths, np.arange(3), tree=True)

    assert (work.pairs, work.completions) == (3, 2)
    assert work.tokens == pytest.approx(int(lengths.tokens.sum()), abs=6)  # means are rounded


def test_what_an_optimizer_keeps() -> None:
    weights = [nn.Parameter(torch.zeros(4))]
    adam = AdamW(weights)
    assert (kept_by(adam), kept_by(SGD(weights, lr=1.0)), kept_by(SGD(weights, lr=1.0, momentum=0.9))) == (2, 0, 1)
    weights[0].grad = torch.ones(4)
    adam.step()
    assert kept_by(adam) == 0  # it is allocated by now


def test_memory_begins_with_what_is_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, model = trainer(max_steps=1), module()
    run.fit(model, data(tmp_path))
    lengths = Lengths.of_examples(PAIRS)
    batches = [np.array([0]), np.array([1, 2])]
    assert cost_of(run, model, lengths, batches, tree=True) is None  # a CPU

    device = torch.device("cuda", 0)
    monkeypatch.setattr(type(run.strategy), "root_device", property(lambda self: device))
    given = {"get_device_name": "NVIDIA H100 80GB HBM3", "memory_allocated": 3 * 2**30}
    for name, value in given.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties())
    cost: Any = cost_of(run, model, lengths, batches, tree=True)

    need, there = cost.memory
    assert there == 80 * 2**30
    gradients = 4 * sum(each.numel() for each in model.policy.parameters())
    assert need > 3 * 2**30 + gradients
    assert need < 3 * 2**30 + 200 * 2**20
    assert 0 < cost.step_seconds < 1e-3
    monkeypatch.setattr(run_cost, "GPUS", {})
    unknown: Any = cost_of(run, model, lengths, batches, tree=True)
    assert unknown.step_seconds is None


class Properties:
    """Those of a GPU of 80 GiB."""

    total_memory = 80 * 2**30
