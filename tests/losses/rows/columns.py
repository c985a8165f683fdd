"""Losses that read the data's columns."""

import math

from dpo_lightning.losses import DistilledDPO, RewardAwareKL, RewardAwareSquared, SoftLabelDPO
from tests.losses.battery import Pair, Row

# Margins 2, 0, -2, times beta 0.5: a = 1, 0, -1. Log-ratios 3 and 1, 1 and 1, -1 and 1.
PAIRS = [Pair(-7.0, -9.0), Pair(-9.0, -9.0), Pair(-11.0, -9.0)]
WRONG, RIGHT = 1.3132616875182228, 0.3132616875182228  # log(1 + e), log(1 + 1 / e)


def entropy(margin: float) -> float:
    """Of the choice between two completions with this difference in reward."""
    probability = 1 / (1 + math.exp(-margin))
    return -probability * math.log(probability) - (1 - probability) * math.log(1 - probability)


ROWS = [
    # Probability 4/5: 0.8 log(1 + e^-a) + 0.2 log(1 + e^a).
    Row(
        "soft_label_dpo",
        SoftLabelDPO(beta=0.5),
        PAIRS,
        losses=[0.8 * RIGHT + 0.2 * WRONG, math.log(2), 0.8 * WRONG + 0.2 * RIGHT],
        rewards=(1.5, 0.5),
        start=math.log(2),
        only_margin=True,
    ),
    # The true margin is 1: 0, 1 and 2 away. At the start, the squares of the margins 0.5, 1.5, 2.5.
    Row(
        "distilled_dpo",
        DistilledDPO(beta=0.5),
        PAIRS,
        losses=[0.0, 1.0, 4.0],
        rewards=(1.5, 0.5),
        start=[0.25, 2.25, 6.25],
        only_margin=True,
    ),
    # b = 2 x log 2 = log 4 has the probability 4/5. With a = log 4 that is met; a = 0 has 1/2, a = -log 4 has 1/5:
    # 0.8 log(8/5) + 0.2 log(2/5), and 0.8 log 4 + 0.2 log(1/4). At the start, log 2 less the entropy of b.
    Row(
        "reward_aware_kl",
        RewardAwareKL(beta=0.5, eta=2.0),
        [Pair(-10 + 2 * a, -10, margin=math.log(2)) for a in (math.log(4), 0.0, -math.log(4))],
        losses=[0.0, 0.8 * math.log(1.6) + 0.2 * math.log(0.4), 0.6 * math.log(4)],
        rewards=(math.log(4), 0.0),
        start=[math.log(2) - entropy(2 * margin) for margin in (0.5, 1.5, 2.5)],
        only_margin=True,
    ),
    # b = 2 x 0.5 = 1: half of the squares of 0, 1, 2. At the start, half of the squares of 1, 3, 5.
    Row(
        "reward_aware_squared",
        RewardAwareSquared(beta=0.5, eta=2.0),
        [pair._replace(margin=0.5) for pair in PAIRS],
        losses=[0.0, 0.5, 2.0],
        rewards=(1.5, 0.5),
        start=[0.5, 4.5, 12.5],
        only_margin=True,
    ),
]
