"""What unpaired BCO observes, beside the battery of the unpaired."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning import UnpairedBCO
from dpo_lightning.losses import Reads
from tests.losses.unpaired import LABELS, scores_of


def test_bco_observes_rewards_with_their_labels() -> None:
    observation = UnpairedBCO(beta=0.5, momentum=0.75).observe(scores_of(torch.tensor([2.0, -4.0]), LABELS[:2]))

    assert observation.values.tolist() == [1.0, -2.0]
    assert observation.momentum == 0.75
    assert observation.desirable is not None
    assert observation.desirable.tolist() == [True, False]
    assert Reads.MISMATCHED not in UnpairedBCO.reads


def test_the_gradient_is_largest_for_what_is_most_wrong() -> None:
    # d/d rho of -log sigma(r - delta) is -beta sigma(delta - r): -beta far below delta, -beta / 2 at it, 0 far above.
    logratio = torch.tensor([-99.0, 1.0, 101.0, -99.0, 1.0, 101.0], dtype=torch.float64, requires_grad=True)
    desirable = torch.tensor([True] * 3 + [False] * 3)

    UnpairedBCO(beta=0.5)(scores_of(logratio, desirable, baseline=0.5)).sum().backward()

    assert logratio.grad is not None
    assert logratio.grad.tolist() == pytest.approx([-0.5, -0.25, 0.0, 0.0, 0.25, 0.5], abs=1e-12)
