"""Losses of lists and of likelihoods by numbers: the papers' equations worked out by hand, and their gradients.

Values of exp and log were written down from tables to 12 digits and more; nothing here calls the code under test twice.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_lightning.losses import DPO, QRPO, TPO, AllPairs, PlackettLuceDPO, SimPER
from dpo_lightning.losses.scores import PairScores
from tests.losses.listed import scores_of

# Log-ratios 2 ln 2, 0 and 2 ln 3 with beta 0.5: exp(beta rho) is 2, 1 and 3. The reference's log-probs are -20.
LN2, LN3 = 0.693147180559945, 1.09861228866811
RATIOS = [[2 * LN2, 0.0, 2 * LN3]]
# Scores 3, 1, 2: the ranking is 2, 3, 1 of those exponentials.
SCORES = [[3.0, 1.0, 2.0]]

CASES = [
    # -log 2/6 - log 3/4, equation 20. By rho: beta (p - 1) of each choice, p = 2/6, 1/6, 3/6, then 1/4 and 3/4.
    (
        PlackettLuceDPO(beta=0.5),
        LN3 + 0.287682072451781,
        [0.5 * (1 / 3 - 1), 0.5 * (1 / 6 + 1 / 4), 0.5 * (1 / 2 - 1 / 4)],
    ),
    # Pairs 2 over 1, 2 over 3 and 3 over 1: log 3/2, log 5/2, log 4/3. By rho: beta / 3 times the losers' shares.
    (
        AllPairs(DPO(beta=0.5)),
        (0.405465108108164 + 0.916290731874155 + 0.287682072451781) / 3,
        [-(1 / 3 + 3 / 5) / 6, (1 / 3 + 1 / 4) / 6, (3 / 5 - 1 / 4) / 6],
    ),
    # Differences 2, 1 and 1 of the scores times the same.
    (
        AllPairs(DPO(beta=0.5), weighted=True),
        (2 * 0.405465108108164 + 0.916290731874155 + 0.287682072451781) / 3,
        [-(2 / 3 + 3 / 5) / 6, (2 / 3 + 1 / 4) / 6, (3 / 5 - 1 / 4) / 6],
    ),
    # Quantiles 1, 1/3, 2/3; log Z = log(0.5 (e^2 - 1)) = 1.16143936157120, times beta 0.580719680785598.
    # Residuals q - beta log Z - beta rho: 1 - 0.580... - ln 2, 1/3 - 0.580..., 2/3 - 0.580... - ln 3.
    (
        QRPO(beta=0.5),
        (0.273866861345543**2 + 0.247386347452265**2 + 1.012665302787041**2) / 3,
        [0.273866861345543 / 3, 0.247386347452265 / 3, 1.012665302787041 / 3],
    ),
    # Gold 2, then 3 against 1: log 4/3, and a fourth of the gold one's nats a token, (20 - 2 ln 2) / 4.
    (
        TPO(beta=0.5, nll_weight=0.25),
        0.287682072451781 + 0.25 * (20 - 2 * LN2) / 4,
        [-0.25 / 4, 0.5 / 4, -0.5 / 4],
    ),
]


@pytest.mark.parametrize(("objective", "loss", "gradient"), CASES, ids=lambda each: type(each).__name__)
def test_lists_by_hand(objective: Any, loss: float, gradient: list[float]) -> None:
    lists = scores_of(RATIOS, SCORES)
    logps = lists.policy_logps.requires_grad_()
    found = objective(lists)
    (by_logps,) = torch.autograd.grad(found.sum(), logps)
    assert found.tolist() == pytest.approx([loss], rel=1e-11)
    assert by_logps.tolist() == pytest.approx(gradient, rel=1e-11, abs=1e-13)


def test_simper_by_hand() -> None:
    """Perplexities 2 and 4: 1/4 - 1/2, and each inverse perplexity over its tokens by the log-prob."""
    logps = torch.tensor([[-3 * LN2], [-5 * 2 * LN2], [0.0], [0.0]], dtype=torch.float64, requires_grad=True)
    loss = SimPER()(PairScores(*logps, *torch.tensor([[3], [5]])))
    (gradient,) = torch.autograd.grad(loss.sum(), logps)
    assert loss.item() == pytest.approx(-0.25, rel=1e-11)
    assert gradient.flatten().tolist() == pytest.approx([-1 / 6, 1 / 20, 0.0, 0.0], rel=1e-11)
