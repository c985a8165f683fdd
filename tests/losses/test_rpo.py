"""RPO is DPO whose chosen completions are held up."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.losses import DPO, RPO
from tests.losses.battery import Pair, scores_of, some_scores


def test_without_the_likelihood_it_is_dpo() -> None:
    scores = some_scores()

    assert torch.equal(RPO(beta=0.3, alpha=0.0)(scores), DPO(beta=0.3)(scores))


def test_the_chosen_completion_is_pulled_up_where_dpo_is_content() -> None:
    # A margin of 2000 nats leaves DPO's gradient at e^-200; that of the likelihood is -alpha / |y_w| = -2 / 4.
    scores = scores_of([Pair(-1010.0, -3010.0, chosen_length=4)])
    chosen = scores.policy_chosen_logps.clone().requires_grad_()

    RPO(beta=0.1, alpha=2.0)(scores._replace(policy_chosen_logps=chosen)).sum().backward()

    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.5, rel=1e-12)
