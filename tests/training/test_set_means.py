"""Means over the sets of an evaluation."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.training.metrics import NAMES, ChosenMean, PairMean, UnpairedMean
from dpo_lightning.training.set_means import SetMeans


def values(*losses: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(losses) for name in (*NAMES, "rewards", "logps", "logratios", "lengths")} | {
        "desirable": torch.tensor([True] * len(losses))
    }


@pytest.mark.parametrize("means", [PairMean, ChosenMean, UnpairedMean])
def test_one_set_has_the_means_of_the_metric_itself(means):
    alone, metric = SetMeans(means()), means()
    for batch in (values(1.0, 2.0), values(6.0)):
        alone.update(batch, 5)  # without names there is one set
        metric.update(batch)
    assert alone.compute() == metric.compute()
    assert alone.names == metric.names


@pytest.mark.parametrize("means", [PairMean, ChosenMean, UnpairedMean])
def test_every_set_has_its_own_and_the_mean_over_all_is_over_the_examples(means):
    metric = SetMeans(means())
    metric.begin(["a", "b", "empty"])
    metric.update(values(1.0, 2.0, 3.0), 0)
    metric.update(values(8.0), 1)
    found = metric.compute()
    assert [found[name].item() for name in ("loss", "a/loss", "b/loss")] == [3.5, 2.0, 8.0]
    assert not [name for name in found if name.startswith("empty")]
    assert found.keys() <= metric.names
    assert "empty/loss" in metric.names


def test_beginning_anew_forgets():
    metric = SetMeans(PairMean())
    metric.begin(["a", "b"])
    metric.update(values(1.0), 1)
    metric.begin()
    assert metric.totals.shape == (1, len(NAMES) + 1)
    assert not metric.totals.any()
    assert list(metric.children()) == []
