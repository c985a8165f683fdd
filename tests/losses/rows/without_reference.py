"""SimPO, AlphaPO, CPO, CPO-SimPO, ORPO and SimPER."""

import math

from dpo_lightning.losses import CPO, ORPO, AlphaPO, CPOSimPO, SimPER, SimPO
from tests.losses.battery import Pair, Row

# -log sigma(1), -log sigma(0) and -log sigma(-1): log(1 + e^-1), ln 2, log(1 + e).
LOGISTIC = [0.3132616875182228, math.log(2), 1.3132616875182228]


def pair(chosen: float, rejected: float) -> Pair:
    """Log-probs per token, over 2 and 4 tokens."""
    return Pair(2 * chosen, 4 * rejected, chosen_length=2, rejected_length=4)


# Margins per token 1, 0.5, 0; less 0.5, times 2: 1, 0, -1.
PER_TOKEN = [pair(-1, -2), pair(-1.5, -2), pair(-2, -2)]

# Margins 2, 0, -2, times 0.5: 1, 0, -1. Over 4 and 2 tokens.
SUMMED = [Pair(-2, -4), Pair(-4, -4), Pair(-6, -4)]

ROWS = [
    Row(
        "simpo",
        SimPO(beta=2.0, gamma_beta_ratio=0.5),
        PER_TOKEN,
        losses=LOGISTIC,
        rewards=(-2.0, -4.0),
        start=None,
    ),
    # With alpha 0.5, p^-alpha is 1.5, 1.75 and 2 for the chosen completions and 2 for the rejected ones: the rewards
    # 2 / 0.5 x (1 - p^-alpha) are -2, -3, -4 and -4. Margins 2, 1, 0, less 2 x 0.5: 1, 0, -1.
    Row(
        "alphapo",
        AlphaPO(beta=2.0, alpha=0.5, gamma_beta_ratio=0.5),
        [pair(-2 * math.log(power), -2 * math.log(2)) for power in (1.5, 1.75, 2)],
        losses=LOGISTIC,
        rewards=(-2.0, -4.0),
        start=None,
    ),
    # With alpha -1, p^-alpha is p: the rewards 4 / -1 x (1 - p) are -2 for 1/2, and -3, -2, -1 for 1/4, 1/2, 3/4.
    Row(
        "alphapo_negative",
        AlphaPO(beta=4.0, alpha=-1.0, gamma_beta_ratio=0.0),
        [pair(math.log(0.5), math.log(likelihood)) for likelihood in (0.25, 0.5, 0.75)],
        losses=LOGISTIC,
        rewards=(-2.0, -3.0),
        start=None,
    ),
    # Half of the summed negative log-likelihoods 2, 4, 6 beside the preference.
    Row(
        "cpo",
        CPO(beta=0.5, nll_weight=0.5),
        SUMMED,
        losses=[LOGISTIC[0] + 1, LOGISTIC[1] + 2, LOGISTIC[2] + 3],
        rewards=(-1.0, -2.0),
        start=None,
    ),
    # The same over 4 tokens.
    Row(
        "cpo_per_token",
        CPO(beta=0.5, nll_weight=0.5, nll_per_token=True),
        SUMMED,
        losses=[LOGISTIC[0] + 0.25, LOGISTIC[1] + 0.5, LOGISTIC[2] + 0.75],
        rewards=(-1.0, -2.0),
        start=None,
    ),
    # SimPO, and half of 1, 1.5, 2 nats per token.
    Row(
        "cpo_simpo",
        CPOSimPO(beta=2.0, gamma_beta_ratio=0.5, nll_weight=0.5),
        PER_TOKEN,
        losses=[LOGISTIC[0] + 0.5, LOGISTIC[1] + 0.75, LOGISTIC[2] + 1],
        rewards=(-2.0, -4.0),
        start=None,
    ),
    # Likelihoods 4/5, 1/2 and 1/5 have the odds 4, 1 and 1/4, against 1: -log sigma(log odds) = log(1 + 1 / odds).
    # Beside that, the likelihood's -log: log(5/4), log 2, log 5. The weight of the odds is 0.5.
    Row(
        "orpo",
        ORPO(odds_weight=0.5),
        [pair(math.log(likelihood), math.log(0.5)) for likelihood in (0.8, 0.5, 0.2)],
        losses=[1.5 * math.log(1.25), 1.5 * math.log(2), 1.5 * math.log(5)],
        rewards=(math.log(4), 0.0),
        start=None,
    ),
    # Geometric mean likelihoods e^-1, e^-1.5 and e^-2 of a token against e^-2, as PER_TOKEN has them.
    Row(
        "simper",
        SimPER(),
        PER_TOKEN,
        losses=[math.exp(-2) - math.exp(-1), math.exp(-2) - math.exp(-1.5), 0.0],
        rewards=(-1.0, -2.0),
        start=None,
    ),
]
