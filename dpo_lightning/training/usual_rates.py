"""Learning rates that published runs took, by what is trained: a rate that is far off is worth a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch.optim import Optimizer

from dpo_lightning.losses import AnyObjective

_FAR = 10.0
_SMALL = 1e9  # parameters; below, larger rates are usual
_TOY = 1e7  # parameters; below, nobody has published an upper end


class Rates(NamedTuple):
    """The least and the greatest usual learning rate of an Adam-like optimizer."""

    least: float
    greatest: float


_ADAPTERS = Rates(1e-5, 2e-4)
_ALL_WEIGHTS = Rates(2e-7, 5e-6)
_ON_CHOSEN = {"SFT": Rates(1e-6, 2e-5), "ORPO": Rates(5e-7, 1e-5), "CPO": Rates(5e-7, 1e-5)}


def usual_rates(objective: str, *, adapted: bool, parameters: int) -> Rates:
    """Return the usual range for a method.

    All weights, 7 billion parameters and more: DPO 5e-7 (Zephyr, arXiv:2310.16944) and 1e-6 (arXiv:2305.18290, 2.8
    billion); 5e-7 for 8 and 2e-7 for 70 billion (Tulu 3, arXiv:2411.15124); SimPO and what it is compared with 3e-7 to
    1e-6 (arXiv:2405.14734); KTO 5e-7 to 5e-6, 2 to 10 times that of DPO (arXiv:2402.01306). What maximises the
    likelihood of chosen completions takes more: ORPO 5e-6 to 8e-6 (arXiv:2403.07691), fine-tuning 5e-6 to 2e-5 (Tulu 3,
    Zephyr). Adapters take about ten times the rate of all weights, whatever the model (Schulman et al. 2025, LoRA
    Without Regret); 2e-4 is that of QLoRA (arXiv:2305.14314).

    The best rate of Adam falls as 1 / width (arXiv:2203.03466), so that the upper end for all weights grows with the
    square root of 1e9 / parameters below a billion. The lower end stays: it is where a run begins to do nothing.

    Args:
        objective: Name of its class.
        adapted: Whether adapters are trained, and not the weights.
        parameters: Those of the model.
    """
    least, greatest = _ADAPTERS if adapted else _ON_CHOSEN.get(objective, _ALL_WEIGHTS)
    if parameters < _TOY:
        return Rates(least, float("inf"))
    return Rates(least, greatest if adapted else greatest * max(1.0, (_SMALL / parameters) ** 0.5))


def usual_rates_of(objective: AnyObjective, *, adapted: bool, parameters: int) -> Rates:
    """Return the usual range for an objective: of one inside another its own, of several inside one from end to end."""
    each = [usual_rates(name, adapted=adapted, parameters=parameters) for name in _methods(objective)]
    return Rates(min(rates.least for rates in each), max(rates.greatest for rates in each))


def _methods(objective: AnyObjective) -> Iterator[str]:
    """Yield the class by whose name an objective's rates are known, a base's perhaps, or those of what it wraps."""
    wrapped = [getattr(objective, "objective", None), *getattr(objective, "objectives", ())]
    inside = [each for each in wrapped if isinstance(each, AnyObjective)]
    for each in inside:
        yield from _methods(each)
    if not inside:
        names = [each.__name__ for each in type(objective).__mro__]
        yield next((name for name in names if name in _ON_CHOSEN), names[0])


def adam_rates(optimizer: Optimizer) -> list[float]:
    """Return the rates after warm-up of the groups of an Adam, none of other optimizers, whose usual rates differ.

    An Adam by its name or a base's, with `betas`, and without a step size that it finds itself (`d`), as Prodigy has.
    """
    names = [each.__name__.lower() for each in type(optimizer).__mro__]
    if not any("adam" in name for name in names) or any("muon" in name for name in names):
        return []
    groups = [each for each in optimizer.param_groups if "betas" in each and not {"d", "d_coef"} & each.keys()]
    return [float(each.get("initial_lr", each["lr"])) for each in groups]


def unusual_rate(rate: float, usual: Rates, objective: str, *, adapted: bool) -> str | None:
    """Return one line on a learning rate that is 10 times off the usual range; None for others, and for 0."""
    trained = "adapters" if adapted else "all weights"
    if 0 < rate <= usual.least / _FAR * 1.001:  # 1e-5 / 10 is not 1e-6 in floats
        said = f"{usual.least / rate:.0f} times below", "the policy will hardly move"
    elif rate >= usual.greatest * _FAR * 0.999:
        said = f"{rate / usual.greatest:.0f} times above", "the policy may forget how to write"
    else:
        return None
    to = "up" if usual.greatest == float("inf") else f"to {usual.greatest:.1g}"
    return (
        f"learning rate {rate:g} is {said[0]} what is usual for {objective} on {trained} ({usual.least:g} {to}): "
        f"{said[1]}; set the optimizer's lr, in a config model.optimizer.init_args.lr"
    )
