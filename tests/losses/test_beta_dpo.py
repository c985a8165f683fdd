"""beta-DPO's beta."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import BetaDPO, beta_dpo, dpo
from dpo_lightning.losses.scores import Baseline
from tests.losses.battery import Pair, scores_of

# Margins 4 and -2, 1 on average.
SCORES = scores_of([Pair(-8.0, -12.0), Pair(-9.0, -7.0)])


@pytest.mark.parametrize(
    ("usual", "beta"),
    [
        (1.0, 0.1),  # as usual
        (0.0, 0.16),  # 1 wider: 0.1 (1 + 0.6)
        (2.0, 0.04),  # 1 narrower: 0.1 (1 - 0.6)
        (9.0, 0.001),  # 8 narrower: 0.1 (1 - 4.8) is negative, and 0.01 of 0.1 is left
    ],
)
def test_beta_follows_the_margin_of_the_batch(usual: float, beta: float) -> None:
    objective = BetaDPO(beta=0.1, alpha=0.6)
    batch = objective.observe(SCORES).values.mean()
    baseline = Baseline(batch, torch.tensor(usual, dtype=torch.float64))

    losses = objective(SCORES._replace(baseline=baseline))

    assert batch.item() == 1.0
    expected = dpo(SCORES.chosen_logratio, SCORES.rejected_logratio, beta=beta)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=0)


def test_it_observes_margins_without_a_graph() -> None:
    chosen = SCORES.policy_chosen_logps.clone().requires_grad_()

    observed = BetaDPO(momentum=0.7).observe(SCORES._replace(policy_chosen_logps=chosen))

    assert observed.values.tolist() == [4.0, -2.0]
    assert not observed.values.requires_grad
    assert observed.momentum == 0.7


def test_half_precision_scores_are_scaled_in_single_precision() -> None:
    chosen, rejected = torch.randn(2, 20).bfloat16()
    settings = {"beta": 0.1, "alpha": 0.6, "batch_margin": torch.tensor(1.0), "usual_margin": torch.tensor(0.3)}

    losses = beta_dpo(chosen, rejected, **settings)

    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, beta_dpo(chosen.float(), rejected.float(), **settings), rtol=1e-6, atol=0)


def test_without_a_past_it_would_be_dpo() -> None:
    with pytest.raises(InputError, match=r"BetaDPO\.momentum must be above 0"):
        BetaDPO(momentum=0.0)
