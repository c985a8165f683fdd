"""Learning rates that published runs took, by what is trained: a rate that is far off is worth a word."""

from __future__ import annotations

from typing import NamedTuple

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
