"""The objectives that read a reference, and f-divergences."""

from math import exp, log, log1p

from dpo_lightning.losses import (
    DPO,
    DPOP,
    EXO,
    IPO,
    NCA,
    RPO,
    SPPO,
    AlphaDivergence,
    AOTPaired,
    AOTUnpaired,
    APODown,
    APOZero,
    BetaDPO,
    CalDPO,
    ChiPO,
    DiscoPOP,
    FDivergence,
    ForwardKL,
    JensenShannon,
    LengthNormalizedDPO,
    LengthRegularizedDPO,
    PairedBCO,
    ReverseKL,
    RobustDPO,
)
from tests.losses.battery import Pair, Row


def softplus(x: float) -> float:
    """-log sigma(-x)."""
    return log1p(exp(x))


def sigma(x: float) -> float:
    return 1 / (1 + exp(-x))


# Log-ratios 2 and -2, 1 and 3, -2 and -4: margins 4, -2, 2. With beta 0.5 the rewards are 1 and -1, 0.5 and 1.5,
# -1 and -2, and their margins 2, -1, 1. The chosen completions have 4 tokens, the rejected ones 2.
PAIRS = [Pair(-8.0, -12.0), Pair(-9.0, -7.0), Pair(-12.0, -14.0)]
LN2 = log(2)

ROWS = [
    # (0.9 softplus(-x) - 0.1 softplus(x)) / 0.8, at x = 2, -1, 1.
    Row(
        "robust",
        RobustDPO(beta=0.5, label_smoothing=0.1),
        PAIRS,
        losses=[
            1.125 * softplus(-2) - 0.125 * softplus(2),
            1.125 * softplus(1) - 0.125 * softplus(-1),
            1.125 * softplus(-1) - 0.125 * softplus(1),
        ],
        rewards=(1.0, -1.0),
        start=LN2,
        only_margin=True,
        swap=-0.625,  # DPO's -0.5, over 1 - 2 x 0.1
    ),
    # q log(q / 0.9) + (1 - q) log((1 - q) / 0.1), at q = sigma(2), sigma(-1), sigma(1).
    Row(
        "exo",
        EXO(beta=0.5, label_smoothing=0.1),
        PAIRS,
        losses=[
            sigma(2) * log(sigma(2) / 0.9) + sigma(-2) * log(sigma(-2) / 0.1),
            sigma(-1) * log(sigma(-1) / 0.9) + sigma(1) * log(sigma(1) / 0.1),
            sigma(1) * log(sigma(1) / 0.9) + sigma(-1) * log(sigma(-1) / 0.1),
        ],
        rewards=(1.0, -1.0),
        start=log(5 / 3),  # half of log(0.5 / 0.9) + log(0.5 / 0.1) = log(25 / 9)
        only_margin=True,
    ),
    # softplus(-r_w) + softplus(r_w) / 2 + softplus(r_l) / 2.
    Row(
        "nca",
        NCA(beta=0.5),
        PAIRS,
        losses=[
            softplus(-1) + softplus(1) / 2 + softplus(-1) / 2,
            softplus(-0.5) + softplus(0.5) / 2 + softplus(1.5) / 2,
            softplus(1) + softplus(-1) / 2 + softplus(-2) / 2,
        ],
        rewards=(1.0, -1.0),
        start=2 * LN2,
    ),
    # With delta 0.5: r_w - delta = 0.5, 0, -1.5 and r_l - delta = -1.5, 1, -2.5.
    Row(
        "paired_bco",
        PairedBCO(beta=0.5),
        PAIRS,
        losses=[softplus(-0.5) + softplus(-1.5), LN2 + softplus(1), softplus(1.5) + softplus(-2.5)],
        rewards=(1.0, -1.0),
        start=2 * LN2,
        baseline=(9.0, 0.5),
    ),
    # (rho_w - 1)^2 + (rho_l + 1)^2: 1 + 1, 0 + 16, 9 + 9.
    Row(
        "sppo",
        SPPO(beta=0.5),
        PAIRS,
        losses=[2.0, 16.0, 18.0],
        rewards=(1.0, -1.0),
        start=2.0,
        swap=-4.0,  # (w - 1)^2 + (l + 1)^2 - (l - 1)^2 - (w + 1)^2 = -4 (w - l)
    ),
    # The policy's margins are 4, -3, 1 and the reference's 0, -1, 3: sorted -3, 1, 4 and -1, 0, 3, so that the pairs
    # meet 3, -1, 0 and differ by 1, -2, 1.
    Row(
        "aot_paired",
        AOTPaired(beta=0.5),
        [Pair(-8.0, -12.0), Pair(-9.0, -6.0, -10.0, -9.0), Pair(-12.0, -13.0, -10.0, -13.0)],
        losses=[softplus(-0.5), softplus(1), softplus(-0.5)],
        rewards=(1.0, -1.0),
        start=LN2,
        only_margin=True,
    ),
    # The chosen log-ratios 2, 1, -2 meet the rejected ones 3, -2, -4 and differ by -1, 3, 2.
    Row(
        "aot_unpaired",
        AOTUnpaired(beta=0.5, label_smoothing=0.1),
        PAIRS,
        losses=[
            0.9 * softplus(0.5) + 0.1 * softplus(-0.5),
            0.9 * softplus(-1.5) + 0.1 * softplus(1.5),
            0.9 * softplus(-1) + 0.1 * softplus(1),
        ],
        rewards=(1.0, -1.0),
        start=LN2,
        only_margin=True,
    ),
    # 1 - sigma(r_w) + sigma(r_l).
    Row(
        "apo_zero",
        APOZero(beta=0.5),
        PAIRS,
        losses=[1 - sigma(1) + sigma(-1), 1 - sigma(0.5) + sigma(1.5), 1 - sigma(-1) + sigma(-2)],
        rewards=(1.0, -1.0),
        start=1.0,
    ),
    # sigma(r_w) + 1 - sigma(r_w - r_l).
    Row(
        "apo_down",
        APODown(beta=0.5),
        PAIRS,
        losses=[sigma(1) + 1 - sigma(2), sigma(0.5) + 1 - sigma(-1), sigma(-1) + 1 - sigma(1)],
        rewards=(1.0, -1.0),
        start=1.0,
        signs=(None, 1),  # the margin pulls the chosen completion up, the anchor down
    ),
    # x = 0.05 margin = 0.2, -0.1, 0.1 and m = sigma(x / 0.05) = sigma(4), sigma(-2), sigma(2).
    Row(
        "discopop",
        DiscoPOP(),
        PAIRS,
        losses=[
            sigma(-4) * softplus(-0.2) + sigma(4) * exp(-0.2),
            sigma(2) * softplus(0.1) + sigma(-2) * exp(0.1),
            sigma(-2) * softplus(-0.1) + sigma(2) * exp(-0.1),
        ],
        rewards=(0.1, -0.1),
        start=(1 + LN2) / 2,
        signs=(1, -1),  # the paper's hump, see the loss
        only_margin=True,
    ),
    # Per token 0.5 - -1 = 1.5, 0.25 - 1.5 = -1.25, -0.5 - -2 = 1.5, times 2.
    Row(
        "length_normalized",
        LengthNormalizedDPO(beta=2.0),
        PAIRS,
        losses=[softplus(-3), softplus(2.5), softplus(-3)],
        rewards=(1.0, -2.0),
        start=LN2,
    ),
    # 2, -1, 1, each plus 0.25 (4 - 2).
    Row(
        "length_regularized",
        LengthRegularizedDPO(beta=0.5, alpha=0.25),
        PAIRS,
        losses=[softplus(-2.5), softplus(0.5), softplus(-1.5)],
        rewards=(1.0, -1.0),
        start=(softplus(-0.25), softplus(1.5), LN2),  # lengths 4 and 3, 2 and 8, 5 and 5
        only_margin=True,
    ),
    # 0.5 (e^w + w - e^l - l).
    Row(
        "chipo",
        ChiPO(beta=0.5),
        PAIRS,
        losses=[
            softplus(-0.5 * (exp(2) - exp(-2) + 4)),
            softplus(-0.5 * (exp(1) - exp(3) - 2)),
            softplus(-0.5 * (exp(-2) - exp(-4) + 2)),
        ],
        rewards=(0.5 * (exp(2) + 1), 0.5 * (exp(-2) - 3)),
        start=LN2,
    ),
    # The batch's margin is 1 above the usual one: beta = 0.5 (1 + 0.5) = 0.75.
    Row(
        "beta_dpo",
        BetaDPO(beta=0.5, alpha=0.5),
        PAIRS,
        losses=[softplus(-3), softplus(1.5), softplus(-1.5)],
        rewards=(1.0, -1.0),
        start=LN2,
        only_margin=True,
        baseline=(2.0, 1.0),
    ),
    # DPO, and twice 8 / 4, 9 / 4, 12 / 4 nats per token.
    Row(
        "rpo",
        RPO(beta=0.5, alpha=2.0),
        PAIRS,
        losses=[softplus(-2) + 4, softplus(1) + 4.5, softplus(-1) + 6],
        rewards=(1.0, -1.0),
        start=None,
    ),
    # Only the third chosen log-ratio is negative: 0.5 (2 - 3 x 2) = -2.
    Row(
        "dpop",
        DPOP(beta=0.5, penalty=3.0),
        PAIRS,
        losses=[softplus(-2), softplus(1), softplus(2)],
        rewards=(1.0, -1.0),
        start=LN2,
    ),
    # DPO with beta 1 on the margins 4, -2, 2, plus (rho_w - 1)^2 + (rho_l + 1)^2.
    Row(
        "cal_dpo",
        CalDPO(beta=0.5),
        PAIRS,
        losses=[softplus(-4) + 2, softplus(2) + 16, softplus(-2) + 18],
        rewards=(1.0, -1.0),
        start=LN2 + 2,
        swap=-5.0,  # DPO's -1 and SPPO's -4
    ),
    Row(
        "f_reverse_kl",
        FDivergence(DPO(beta=0.5), ReverseKL()),
        PAIRS,
        losses=[softplus(-2), softplus(1), softplus(-1)],
        rewards=(1.0, -1.0),
        start=LN2,
        only_margin=True,
        swap=-0.5,
    ),
    # 1 - e^-w - (1 - e^-l) = e^-l - e^-w.
    Row(
        "f_forward_kl",
        FDivergence(DPO(beta=0.5), ForwardKL()),
        PAIRS,
        losses=[
            softplus(-0.5 * (exp(2) - exp(-2))),
            softplus(-0.5 * (exp(-3) - exp(-1))),
            softplus(-0.5 * (exp(4) - exp(2))),
        ],
        rewards=(0.5 * (1 - exp(-2)), 0.5 * (1 - exp(2))),
        start=LN2,
    ),
    # log(2 u / (1 + u)) = ln 2 - softplus(-log u).
    Row(
        "f_jensen_shannon",
        FDivergence(DPO(beta=0.5), JensenShannon()),
        PAIRS,
        losses=[
            softplus(-0.5 * (softplus(2) - softplus(-2))),
            softplus(-0.5 * (softplus(-3) - softplus(-1))),
            softplus(-0.5 * (softplus(4) - softplus(2))),
        ],
        rewards=(0.5 * (LN2 - softplus(-2)), 0.5 * (LN2 - softplus(2))),
        start=LN2,
    ),
    # (1 - e^(-w / 2)) / 0.5: the margin is 2 (e^(-l / 2) - e^(-w / 2)), half of that with beta.
    Row(
        "f_alpha",
        FDivergence(DPO(beta=0.5), AlphaDivergence(alpha=0.5)),
        PAIRS,
        losses=[
            softplus(-(exp(1) - exp(-1))),
            softplus(-(exp(-1.5) - exp(-0.5))),
            softplus(-(exp(2) - exp(1))),
        ],
        rewards=(1 - exp(-1), 1 - exp(1)),
        start=LN2,
    ),
    # The forward KL's margins, minus 1 / (2 x 0.25) = 2, squared.
    Row(
        "f_forward_kl_ipo",
        FDivergence(IPO(tau=0.25), ForwardKL()),
        PAIRS,
        losses=[(exp(2) - exp(-2) - 2) ** 2, (exp(-3) - exp(-1) - 2) ** 2, (exp(4) - exp(2) - 2) ** 2],
        rewards=(0.25 * (1 - exp(-2)), 0.25 * (1 - exp(2))),
        start=4.0,
    ),
]
