"""Losses by the names that other trainers give them, as objectives of ours."""

from __future__ import annotations

import json
from typing import NamedTuple


class Loss(NamedTuple):
    """An objective with settings; as text it is what a person writes, `IPO with per_token: true`.

    Attributes:
        name: Name of its class.
        settings: Arguments with their values.
        reads: Settings of the other trainer that it reads -> our argument.
    """

    name: str
    settings: tuple[tuple[str, bool], ...] = ()
    reads: tuple[tuple[str, str], ...] = (("beta", "beta"),)

    def __str__(self) -> str:
        written = ", ".join(f"{key}: {json.dumps(value)}" for key, value in self.settings)
        return f"{self.name} with {written}" if written else self.name


_SMOOTHED = (("beta", "beta"), ("label_smoothing", "label_smoothing"))

PAIRED = {
    "sigmoid": Loss("DPO"),
    "sigmoid_norm": Loss("LengthNormalizedDPO"),
    "hinge": Loss("Hinge"),
    "ipo": Loss("IPO", (("per_token", True),), (("beta", "tau"),)),
    "exo_pair": Loss("EXO", reads=_SMOOTHED),
    "nca_pair": Loss("NCA"),
    "robust": Loss("RobustDPO", reads=_SMOOTHED),
    "bco_pair": Loss("PairedBCO"),
    "sppo_hard": Loss("SPPO"),
    "aot": Loss("AOTPaired", reads=_SMOOTHED),
    "aot_unpaired": Loss("AOTUnpaired", reads=_SMOOTHED),
    "apo_zero": Loss("APOZero"),
    "apo_down": Loss("APODown"),
    "discopop": Loss("DiscoPOP", reads=(("beta", "beta"), ("discopop_tau", "tau"))),
    "sft": Loss("SFT", reads=()),
}
"""Losses of TRL's DPOTrainer."""

LOSSES = {
    **PAIRED,
    "simpo": Loss("SimPO"),
    "orpo": Loss("ORPO", reads=()),
    "kto": Loss("KTO"),
    "bco": Loss("UnpairedBCO"),
    "apo_zero_unpaired": Loss("APOZeroUnpaired"),
}
"""Losses of all trainers of TRL, with what is the same here."""
