"""What DPOTrainer of TRL 1.16.0 can be asked for, and which objective of ours each of it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch

from dpo_lightning.losses import (
    DPO,
    EXO,
    IPO,
    LDDPO,
    NCA,
    SFT,
    SPPO,
    WPO,
    AlphaDivergence,
    AOTPaired,
    AOTUnpaired,
    APODown,
    APOZero,
    DiscoPOP,
    Divergence,
    FDivergence,
    ForwardKL,
    Hinge,
    JensenShannon,
    LengthNormalizedDPO,
    MarginObjective,
    Objective,
    Observation,
    PairedBCO,
    RobustDPO,
    Weighted,
)
from dpo_lightning.losses.scores import PairScores

BETA = 0.5
FLIPPED = 0.1
SHARED_SETTINGS = {"beta": BETA, "label_smoothing": FLIPPED, "discopop_tau": 0.5, "f_alpha_divergence_coef": 0.3}


@dataclass(frozen=True)
class UnshiftedBCO(PairedBCO):
    """BCO whose reward shift is 0 at every step."""

    def observe(self, scores: PairScores) -> Observation:
        return Observation(torch.zeros_like(scores.policy_chosen_logps), self.momentum)


LOSSES: dict[str, Objective] = {
    "sigmoid": DPO(BETA),
    "hinge": Hinge(BETA),
    "ipo": IPO(BETA, per_token=True),
    "exo_pair": EXO(BETA, FLIPPED),
    "nca_pair": NCA(BETA),
    "robust": RobustDPO(BETA, FLIPPED),
    "bco_pair": UnshiftedBCO(BETA),
    "sppo_hard": SPPO(BETA),
    "aot": AOTPaired(BETA, FLIPPED),
    "aot_unpaired": AOTUnpaired(BETA, FLIPPED),
    "apo_zero": APOZero(BETA),
    "apo_down": APODown(BETA),
    "discopop": DiscoPOP(BETA, 0.5),
    "sigmoid_norm": LengthNormalizedDPO(BETA),
    "sft": SFT(),
}
# TRL's coefficient is 1 - the paper's alpha.
DIVERGENCES: dict[str, Divergence | None] = {
    "reverse_kl": None,
    "forward_kl": ForwardKL(),
    "js_divergence": JensenShannon(),
    "alpha_divergence": AlphaDivergence(0.7),
}
LD_ALPHAS = (None, 0.4)
# Accepted, and raise in the first step: see tools.docs.deviations.
FAILING_WITH_WEIGHTS = ("hinge", "sft")


class Case(NamedTuple):
    """The same loss on both sides: settings of TRL's, and our objective."""

    settings: dict[str, Any]
    objective: Objective

    @property
    def name(self) -> str:
        values = (value if isinstance(value, list) else [value] for value in self.settings.values())
        return "-".join("+".join(map(str, value)) for value in values)


def all_settings() -> Iterator[dict[str, Any]]:
    """The product of TRL's options, whether it accepts it or not."""
    for loss_type, divergence, ld_alpha, weighting in product(LOSSES, DIVERGENCES, LD_ALPHAS, (False, True)):
        yield {
            "loss_type": loss_type,
            "f_divergence_type": divergence,
            "ld_alpha": ld_alpha,
            "use_weighting": weighting,
        }


def is_refused(settings: dict[str, Any]) -> bool:
    """Whether DPOTrainer's constructor raises: a divergence without a margin, or weights where the batch is sorted."""
    loss_type = settings["loss_type"]
    of_a_margin = loss_type == "sft" or isinstance(LOSSES[loss_type], MarginObjective)
    sorted_batch = loss_type in ("aot", "aot_unpaired")
    return (settings["f_divergence_type"] != "reverse_kl" and not of_a_margin) or (
        settings["use_weighting"] and sorted_batch
    )


def ours(settings: dict[str, Any]) -> Objective:
    """Our objective for TRL's settings."""
    objective = LOSSES[settings["loss_type"]]
    divergence = DIVERGENCES[settings["f_divergence_type"]]
    if divergence is not None:
        objective = FDivergence(objective, divergence)
    return modified(objective, settings["ld_alpha"], settings["use_weighting"])


def modified(objective: Objective, ld_alpha: float | None, weighting: bool) -> Objective:
    """The objective with the modifiers that TRL has."""
    if ld_alpha is not None:
        objective = LDDPO(objective, ld_alpha)
    return WPO(objective) if weighting else objective


def cases() -> list[Case]:
    """All that both train, but for `sft`, whose mean is over other things than ours."""
    return [
        Case(settings, ours(settings))
        for settings in all_settings()
        if settings["loss_type"] != "sft" and not is_refused(settings) and not _raises_later(settings)
    ]


def _raises_later(settings: dict[str, Any]) -> bool:
    return settings["use_weighting"] and settings["loss_type"] in FAILING_WITH_WEIGHTS


def mixture(loss_types: Sequence[str], weights: Sequence[float], ld_alpha: float | None, weighting: bool) -> Case:
    """A weighted sum of losses, as in MPO."""
    settings = {
        "loss_type": list(loss_types),
        "loss_weights": list(weights),
        "ld_alpha": ld_alpha,
        "use_weighting": weighting,
    }
    objective = Weighted([LOSSES[loss_type] for loss_type in loss_types], list(weights))
    return Case(settings, modified(objective, ld_alpha, weighting))
