"""What a fit is about to need, as far as it can be told without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from dpo_lightning import TokenizedExample
from dpo_lightning.callbacks import run_cost
from dpo_lightning.callbacks.run_cost import cost_of, kept_by, peak_of, workload
from dpo_lightning.data.lengths import Lengths
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import PAIRS, VOCAB_SIZE


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


EQUAL = [TokenizedExample.pair(row, [1, 5, 6, 7], [8, 9, 2], [11, 12, 2]) for row in range(4)]
BATCHES = [np.array([0, 1]), np.array([2, 3])]


@pytest.fixture
def fitted(tmp_path: Path) -> tuple[Any, Any]:
    """A run that is over, and its module."""
    run, model = trainer(max_steps=1), module()
    run.fit(model, data(tmp_path))
    return run, model


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, run: Any, name: str) -> None:
    device = torch.device("cuda", 0)
    monkeypatch.setattr(type(run.strategy), "root_device", property(lambda self: device))
    given = {"get_device_name": name, "memory_allocated": 3 * 2**30, "get_device_properties": Properties()}
    for asked, value in given.items():
        monkeypatch.setattr(torch.cuda, asked, lambda device, value=value: value)


def test_memory_begins_with_what_is_allocated(fitted: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run, model = fitted
    lengths = Lengths.of_examples(PAIRS)
    batches = [np.array([0]), np.array([1, 2])]
    assert cost_of(run, model, lengths, batches, tree=True) is None  # a CPU

    on_a_gpu(monkeypatch, run, "NVIDIA H100 80GB HBM3")
    cost: Any = cost_of(run, model, lengths, batches, tree=True)
    need, there = cost.memory
    assert there == 80 * 2**30
    gradients = 4 * sum(each.numel() for each in model.policy.parameters())
    assert need > 3 * 2**30 + gradients
    assert need < 3 * 2**30 + 200 * 2**20


def test_seconds_are_those_of_the_products(fitted: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run, model = fitted
    on_a_gpu(monkeypatch, run, "NVIDIA H100 80GB HBM3")
    lengths = Lengths.of_examples(EQUAL)
    weights = sum(each.numel() for each in model.policy.model.layers.parameters())
    # A step has 2 pairs of 4 prompt and twice 3 completion tokens: 20 in a tree, 12 scored, and a query sees the half
    # of its own sequence and all of its prompt.
    attended = 2 * (4 * 4 / 2 + 2 * (3 * 4 + 3 * 3 / 2))
    forward = 2 * weights * 20 + 2 * 4 * 32 * attended  # 2 layers of width 32
    product = 2 * 12 * VOCAB_SIZE * 32

    cost: Any = cost_of(run, model, lengths, BATCHES, tree=True)
    assert cost.step_seconds == pytest.approx((4 * forward + 4 * product) / 67e12 / 0.4)  # 1 of 4 is the reference's
    monkeypatch.setattr(run_cost, "reference_in_the_step", lambda run: False)
    scored_before: Any = cost_of(run, model, lengths, BATCHES, tree=True)
    assert scored_before.step_seconds == pytest.approx((3 * forward + 3 * product) / 67e12 / 0.4)


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H200", 67e12), ("NVIDIA GeForce RTX 4090", 82.6e12), ("NVIDIA H100 PCIe", None), ("NVIDIA T4", None)],
)
def test_the_peak_is_that_of_the_card(
    fitted: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, name: str, peak: float | None
) -> None:
    run, model = fitted
    on_a_gpu(monkeypatch, run, name)
    assert peak_of(run) == peak
    cost: Any = cost_of(run, model, Lengths.of_examples(EQUAL), BATCHES, tree=True)
    assert (cost.step_seconds is None) is (peak is None)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")  # TF32
    assert peak_of(run) is None


class Properties:
    """Those of a GPU of 80 GiB."""

    total_memory = 80 * 2**30
