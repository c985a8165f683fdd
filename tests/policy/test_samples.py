"""Samples of weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dpo_lightning.policy.samples import VALUES, own_tensors, places, sampled, samples_in


@pytest.mark.parametrize("count", [0, 1, VALUES, VALUES + 1, 1000, 4096 * 4096, 128_256 * 4096])
def test_places_are_all_different_and_inside(count: int) -> None:
    found = places(count)
    assert len(found) == len(set(found.tolist())) == min(count, VALUES)
    assert count == 0 or 0 <= int(found.min()) <= int(found.max()) < count


@pytest.mark.parametrize("width", [32, 64, 100])
def test_places_meet_most_columns_and_rows_of_a_matrix(width: int) -> None:
    found = places(512 * width)
    assert len(set((found % width).tolist())) > width * 0.6
    assert len(set((found // width).tolist())) == VALUES  # each in a row of its own


def test_what_is_packed_is_the_values_at_the_places() -> None:
    tensors = {
        "float": torch.randn(300, 3),
        "scalar": torch.tensor(2.0, dtype=torch.bfloat16),
        "codes": torch.arange(200, dtype=torch.uint8),
        "empty": torch.empty(0, 4),
        "meta": torch.empty(3, device="meta"),
    }
    found = samples_in(sampled(tensors))
    assert list(found) == ["float", "scalar", "codes", "empty"]
    for name, sample in found.items():
        flat = tensors[name].reshape(-1)
        assert sample.shape == tuple(tensors[name].shape)
        assert torch.equal(sample.values, flat[places(flat.numel())])
        assert sample.values.dtype == flat.dtype
        assert sample.values.numel() == min(VALUES, math.prod(sample.shape))


def test_samples_are_plain_for_a_checkpoint(tmp_path) -> None:
    torch.save(sampled({"a": torch.ones(3)}), tmp_path / "a.ckpt")
    assert samples_in(torch.load(tmp_path / "a.ckpt", weights_only=True))["a"].values.tolist() == [1, 1, 1]


def test_tied_weights_are_there_once_and_buffers_too() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.tied = model[0].weight  # type: ignore[assignment]
    assert [name for name, value in own_tensors(model).items() if value is model[0].weight] == ["tied"]
    assert "1.running_mean" in own_tensors(model)
