"""Objectives by the names that people type, and the learning rates that suit them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import dpo_lightning
from dpo_lightning import AnyObjective
from dpo_lightning.cli.class_names import fitting_names
from dpo_lightning.cli.ways_over.losses import LOSSES, Loss
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.errors import InputError
from dpo_lightning.training.usual_rates import usual_rates
from dpo_lightning.utils.text import nearest

_RATES = ((3e9, 5e-7), (1e9, 1e-6), (1e8, 2e-6), (1e7, 2e-5), (0.0, 2e-4))
# Beside a rate of DPO: ORPO's paper (arXiv:2403.07691) takes 8e-6, KTO's (arXiv:2402.01306) 2 to 10 times DPO's, and
# supervised fine-tuning of models of this size has 1e-5 to 2e-5.
_FACTORS = {"SFT": 20.0, "ORPO": 10.0, "KTO": 4.0, "UnpairedBCO": 2.0}
_OF_ADAPTERS = 10.0


class Method(NamedTuple):
    """An objective of a config.

    Attributes:
        name: Class of the objective.
        settings: Settings with which it is what was asked for.
    """

    name: str
    settings: dict[str, Any]

    @property
    def read(self) -> DataRead:
        """The needs that it has of the data."""
        return DataRead.by(getattr(dpo_lightning, self.name)(**self.settings))


def method_named(name: str) -> Method:
    """Return the objective of a name: ours in any case, or one of TRL's.

    Raises:
        InputError: for a name that is none, with those that there are, and for one that wraps another objective.
    """
    there = {each.lower(): each for each in fitting_names(AnyObjective)}
    found = LOSSES.get(name.lower(), Loss(there.get(name.lower().replace("-", ""), "")))
    if not found.name:
        close = nearest(name, [*there.values(), *LOSSES])
        remedy = f"did you mean `{close}`?" if close else f"there are {', '.join(there.values())}"
        raise InputError(f"init --method: no objective {name}; {remedy}")
    method = Method(found.name, dict(found.settings))
    try:
        method.read  # noqa: B018 - what needs another objective inside cannot be made
    except (TypeError, InputError):
        raise InputError(
            f"init --method: {found.name} needs settings of its own: start with dpo, and set model.objective as "
            "docs/objectives.md says"
        ) from None
    return method


def learning_rate(method: str, parameters: float, *, adapters: bool) -> float:
    """Return a peak learning rate to begin with: of a method, for a size of the model.

    Args:
        method: Class of the objective.
        parameters: Parameters of the model.
        adapters: Whether low-rank adapters are trained, and not the weights.
    """
    rate = next(rate for size, rate in _RATES if parameters >= size)
    asked = rate * _FACTORS.get(method, 1.0) * (_OF_ADAPTERS if adapters else 1.0)
    usual = usual_rates(method, adapted=adapters, parameters=int(parameters))
    rate = min(max(asked, usual.least), usual.greatest) * (1 + 1e-9)  # 1e-5 may come as 9.999e-6
    unit = 10.0 ** math.floor(math.log10(rate))
    return float(f"{math.floor(rate / unit) * unit:.1g}")  # down to one digit, which no upper end lies below
