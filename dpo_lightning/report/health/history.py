"""The values of a run so far, as the rules of its health read them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_MOST = 240  # points of a curve: a checkpoint holds them
_AT_BOTH_ENDS = 40  # of these, so many first and last ones are never thinned out

OF_COMPLETIONS = ("logps", "logratios", "lengths")
NAMES = frozenset(
    f"{stage}/{name}"
    for stage in ("train", "val")
    for name in (
        "loss",
        "grad_norm",
        "rewards/margins",
        "rewards/accuracies",
        *(f"{each}/{side}" for each in OF_COMPLETIONS for side in ("chosen", "rejected")),
    )
)
"""Names of the values that rules read; a run need not have all of them."""


class CurvePoint(NamedTuple):
    """A value at an optimizer step, and how many examples were seen until then."""

    step: int
    value: float
    seen: int


@dataclass
class Curves:
    """The curves of a run, of the names that rules read.

    Long ones are thinned in their middle: what a rule reads are the beginning and the end. Values that are not finite
    are left out, such as the mean of nothing.
    """

    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)

    def add(self, step: int, values: Mapping[str, float], seen: int = 0) -> None:
        """Add the values of a step; those of one that is there already replace them.

        Args:
            step: Optimizer steps that are done.
            values: Values by name; those that no rule reads are left out.
            seen: Examples that were trained on until then.
        """
        for name, value in values.items():
            if name not in NAMES or not math.isfinite(value):
                continue
            curve = self.curves.setdefault(name, [])
            if curve and curve[-1].step == step:
                curve.pop()
            curve.append(CurvePoint(step, float(value), seen))
            if len(curve) > _MOST:
                curve[_AT_BOTH_ENDS:-_AT_BOTH_ENDS] = curve[_AT_BOTH_ENDS:-_AT_BOTH_ENDS:2]

    def curve(self, name: str) -> Sequence[CurvePoint]:
        """Return the points of a name, none where it was never logged."""
        return self.curves.get(name, ())

    def first(self, name: str, count: int = 1) -> float | None:
        """Return the median of the first points of a name; None where there are fewer."""
        return _median(self.curve(name)[:count], count)

    def last(self, name: str, count: int = 1) -> float | None:
        """Return the median of the last points of a name; None where there are fewer."""
        return _median(self.curve(name)[-count:], count)

    def lasts(self, count: int) -> dict[str, float]:
        """Return the medians of the last points by name; where there are fewer, of those; of a validation the last."""
        return {
            name: statistics.median(each.value for each in curve[-(1 if name.startswith("val/") else count) :])
            for name, curve in self.curves.items()
        }

    def start(self) -> dict[str, float]:
        """Return the first values by name: of the training at its first log, of a validation only before any step."""
        return {
            name: curve[0].value
            for name, curve in self.curves.items()
            if name.startswith("train/") or curve[0].step == 0
        }

    def state(self) -> dict[str, Any]:
        """Return the points in plain form, for a checkpoint."""
        return {name: [list(point) for point in curve] for name, curve in self.curves.items()}

    @classmethod
    def of(cls, state: Mapping[str, Iterable[Sequence[Any]]]) -> Curves:
        """Make the history of such a state."""
        return cls({name: [CurvePoint(*point) for point in curve] for name, curve in state.items()})


class Watched(NamedTuple):
    """State of a run as a rule reads it.

    Attributes:
        history: Values so far.
        step: Optimizer steps that are done.
        steps: Those that are planned; inf where nobody knows.
        start_loss: Loss of a policy that is still its reference; None where there is no such value.
        clips: Whether gradients are clipped.
        in_first_epoch: Whether no example was trained on twice.
        sampled: Mean words of a sample and number of the samples, of the policy now, and before training or of the
            reference; None without samples.
        lost_updates: What was said of updates below the precision of the weights; None where there was nothing.
    """

    history: Curves
    step: int
    steps: float = math.inf
    start_loss: float | None = None
    clips: bool = False
    in_first_epoch: bool = True
    sampled: tuple[float, float, int] | None = None
    lost_updates: str | None = None

    def is_past(self, share: float, else_steps: int) -> bool:
        """Return whether that share of the run is done; where nobody knows its length, that many steps."""
        return self.step >= (else_steps if math.isinf(self.steps) else share * self.steps)


def _median(points: Sequence[CurvePoint], count: int) -> float | None:
    return statistics.median(each.value for each in points) if len(points) == count else None
