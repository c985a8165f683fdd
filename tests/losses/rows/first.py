"""DPO, IPO, hinge and SFT."""

import math

from dpo_lightning.losses import DPO, IPO, SFT, Hinge
from tests.losses.battery import Pair, Row

# Log-ratios 3 and 1, 1 and 1, -1 and 1: margins 2, 0, -2.
PAIRS = [Pair(-7.0, -9.0), Pair(-9.0, -9.0), Pair(-11.0, -9.0)]

ROWS = [
    # beta 0.5: log(1 + e^-1), ln 2, log(1 + e).
    Row(
        "dpo",
        DPO(beta=0.5),
        PAIRS,
        losses=[0.3132616875182228, math.log(2), 1.3132616875182228],
        rewards=(1.5, 0.5),
        start=math.log(2),
        only_margin=True,
        swap=-0.5,  # log sigma(-x) - log sigma(x) = -x, with x = beta margin
    ),
    # 0.9 log(1 + e^-1) + 0.1 log(1 + e) = 0.3132616875 + 0.1 (1.3132616875 - 0.3132616875), and mirrored.
    Row(
        "cdpo",
        DPO(beta=0.5, label_smoothing=0.1),
        PAIRS,
        losses=[0.4132616875182228, math.log(2), 1.2132616875182228],
        rewards=(1.5, 0.5),
        start=math.log(2),
        only_margin=True,
        swap=-0.4,  # the same, times 1 - 2 label_smoothing
    ),
    # tau 0.25 puts the target at 1 / (2 tau) = 2.
    Row(
        "ipo",
        IPO(tau=0.25),
        PAIRS,
        losses=[0.0, 4.0, 16.0],
        rewards=(0.75, 0.25),
        start=4.0,
        only_margin=True,
        swap=-8.0,  # (m - a)^2 - (m + a)^2 = -4 a m, with a = 2
    ),
    # Over 4 and 2 tokens: 0.75 - 0.5 = 0.25, 0.25 - 0.5, -0.25 - 0.5, each minus 2, squared.
    Row(
        "ipo_per_token",
        IPO(tau=0.25, per_token=True),
        PAIRS,
        losses=[3.0625, 5.0625, 7.5625],
        rewards=(0.1875, 0.125),
        start=4.0,
    ),
    # 1 - 0.5 x margin, and never below 0.
    Row(
        "hinge",
        Hinge(beta=0.5),
        PAIRS,
        losses=[0.0, 1.0, 2.0],
        rewards=(1.5, 0.5),
        start=1.0,
        only_margin=True,
        swap=-1.0,  # (1 - x) - (1 + x) = -2 x, where neither side is flat
    ),
    Row(
        "sft",
        SFT(),
        PAIRS,
        losses=[1.75, 2.25, 2.75],
        rewards=(-1.75, -4.5),
        start=None,
        signs=(-1, 0),
    ),
]
