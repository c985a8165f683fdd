"""Objectives around objectives."""

import math

from dpo_lightning.losses import DPO, IPO, LDDPO, SFT, WPO, RowWeighted, SimPO, Weighted
from tests.losses.battery import Pair, Row

# Margins 2, 0, -2, times beta 0.5: 1, 0, -1. Log-ratios 3 and 1, 1 and 1, -1 and 1.
PAIRS = [Pair(-7.0, -9.0), Pair(-9.0, -9.0), Pair(-11.0, -9.0)]
LOGISTIC = [0.3132616875182228, math.log(2), 1.3132616875182228]

ROWS = [
    # The chosen completion has 4 tokens, the rejected one 2: with alpha 0.5, 3/4 of an even log-prob of the chosen one
    # count. Its log-ratios 4, 0, -4 become 3, 0, -3 against 1, 0, -1 (beta 0.5: 1, 0, -1).
    Row(
        "ld_dpo",
        LDDPO(DPO(beta=0.5), alpha=0.5),
        [Pair(-6, -9), Pair(-10, -10), Pair(-14, -11)],
        losses=LOGISTIC,
        rewards=(1.5, 0.5),
        start=math.log(2),
    ),
    # Alpha 0: 2 tokens of 4, so that 8, 0, -8 become 4, 0, -4, and the shorter one's 2, 0, -2 stay: margins 2, 0,
    # -2, from 2 as the target.
    Row(
        "ld_ipo",
        LDDPO(IPO(tau=0.25), alpha=0.0),
        [Pair(-2, -8), Pair(-10, -10), Pair(-18, -12)],
        losses=[0.0, 4.0, 16.0],
        rewards=(1.0, 0.5),
        start=4.0,
        # The tail of the longer completion has no gradient.
        signs=(None, None),
    ),
    # Mean log-probs per token less the log collision: -7/4 + 1 and -9/2 + 1 make exp(-17/4); then -9/4 and -11/4.
    Row(
        "wpo",
        WPO(DPO(beta=0.5)),
        PAIRS,
        losses=[math.exp(power) * loss for power, loss in zip((-4.25, -4.75, -5.25), LOGISTIC, strict=True)],
        rewards=(1.5, 0.5),
        start=None,
        detached=True,
    ),
    Row(
        "row_weighted",
        RowWeighted(DPO(beta=0.5)),
        [pair._replace(weight=weight) for pair, weight in zip(PAIRS, (2.0, 0.0, 0.5), strict=True)],
        losses=[2 * LOGISTIC[0], 0.0, LOGISTIC[2] / 2],
        rewards=(1.5, 0.5),
        start=[weight * math.log(2) for weight in (0.5, 1.5, 2.5)],
        only_margin=True,
    ),
    # Half of DPO, twice IPO's (2 - margin)^2.
    Row(
        "weighted",
        Weighted([DPO(beta=0.5), IPO(tau=0.25)], [0.5, 2.0]),
        PAIRS,
        losses=[LOGISTIC[0] / 2, LOGISTIC[1] / 2 + 8, LOGISTIC[2] / 2 + 32],
        rewards=(1.5, 0.5),
        start=math.log(2) / 2 + 8,
        only_margin=True,
        swap=-16.25,  # 0.5 x -0.5 and 2 x -8, as of the two
    ),
    # 7/4, 9/4 and 11/4 nats per token. The reward is that of the one with a reference.
    Row(
        "weighted_sft",
        Weighted([SFT(), DPO(beta=0.5)], [1.0, 2.0]),
        PAIRS,
        losses=[1.75 + 2 * LOGISTIC[0], 2.25 + 2 * LOGISTIC[1], 2.75 + 2 * LOGISTIC[2]],
        rewards=(1.5, 0.5),
        start=None,
    ),
    # Per token -1 and -2, -1.5 and -2, -2 and -2: 2 x (margin - 0.5) is 1, 0, -1.
    Row(
        "wpo_simpo",
        WPO(SimPO(beta=2.0, gamma_beta_ratio=0.5)),
        [Pair(-2, -8, chosen_length=2, rejected_length=4)._replace(policy_chosen=chosen) for chosen in (-2, -3, -4)],
        losses=[math.exp(power) * loss for power, loss in zip((-1.0, -1.5, -2.0), LOGISTIC, strict=True)],
        rewards=(-2.0, -4.0),
        start=None,
        detached=True,
    ),
]
