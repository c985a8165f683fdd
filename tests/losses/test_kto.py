"""What KTO observes, beside the battery of the unpaired."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning import KTO
from dpo_lightning.losses import Reads
from tests.losses.unpaired import LABELS, scores_of


def test_kto_observes_the_mismatched_completions_without_a_graph() -> None:
    policy, reference = torch.tensor([-3.0, -5.0], requires_grad=True), torch.tensor([-4.0, -2.0])
    scores = scores_of(torch.zeros(2), LABELS[:2], policy_mismatched_logps=policy, reference_mismatched_logps=reference)

    observation = KTO().observe(scores)

    assert observation.values.tolist() == [1.0, -3.0]
    assert not observation.values.requires_grad
    assert observation.momentum == 0
    assert observation.desirable is None
    assert Reads.MISMATCHED in KTO.reads


def test_kto_without_mismatched_completions_is_refused() -> None:
    with pytest.raises(ValueError, match="completions of other prompts"):
        KTO().observe(scores_of(torch.zeros(2), LABELS[:2]))


def test_the_gradient_is_largest_at_the_reference_point_and_gone_far_from_it() -> None:
    # d/d rho of lambda sigma(-beta (rho - z0)) is -lambda beta sigma (1 - sigma): -2 x 0.5 / 4 at z0, and 3 x 0.5 / 4
    # of the other label.
    logratio = torch.tensor([1.0, 1.0, 101.0, 101.0, -99.0, -99.0], dtype=torch.float64, requires_grad=True)

    KTO(beta=0.5, desirable_weight=2.0, undesirable_weight=3.0)(
        scores_of(logratio, torch.tensor([True, False] * 3), baseline=1.0)
    ).sum().backward()

    assert logratio.grad is not None
    assert logratio.grad.tolist() == pytest.approx([-0.25, 0.375, 0.0, 0.0, 0.0, 0.0], abs=1e-12)
