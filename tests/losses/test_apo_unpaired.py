"""APO-zero without pairs."""

from __future__ import annotations

import torch

from dpo_lightning.losses import KTO, APOZeroUnpaired, Reads, apo_zero, apo_zero_unpaired
from tests.losses.unpaired import LABELS, scores_of


def test_its_two_labels_are_the_two_halves_of_the_loss_of_pairs() -> None:
    chosen, rejected = torch.randn(2, 50, dtype=torch.float64)
    labels = torch.ones(50, dtype=torch.bool)
    halves = [apo_zero_unpaired(ratios, label, beta=0.7) for ratios, label in ((chosen, labels), (rejected, ~labels))]
    torch.testing.assert_close(halves[0] + halves[1], apo_zero(chosen, rejected, beta=0.7), rtol=1e-12, atol=0)


def test_it_is_kto_without_an_estimate_of_the_divergence() -> None:
    scores = scores_of(torch.randn(4), LABELS, baseline=0.0)
    settings = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.5}
    assert APOZeroUnpaired(**settings)(scores).equal(KTO(**settings)(scores))
    assert not APOZeroUnpaired.reads & (Reads.MISMATCHED | Reads.BASELINE)
