"""The frontier as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.frontier.measure import Estimate
from benchmarks.frontier.points import Point, over_curve

HEADER = ("#", "objective", "true reward", "KL, nats", "over DPO", "tokens", "")
SWEEP_HEADER = ("objective", "true reward", "KL, nats", "tokens")
_KEPT = "†"
_YARDSTICK = "DPO"  # whose sweep the others are compared with


class Frontier(NamedTuple):
    """Points of the frontier, as they are shown.

    Attributes:
        start: The starting policy.
        entries: Objectives of the catalogue, which are numbered from 1.
        sweeps: Points of one objective with several settings, by its name.
        twice: What was measured again, as the kept mean and the new one.
    """

    start: Point
    entries: Sequence[Point]
    sweeps: Mapping[str, Sequence[Point]]
    twice: Sequence[tuple[Point, Point]] = ()

    def rows(self) -> list[tuple[str, ...]]:
        """Return cells under `HEADER`: the starting policy, then the objectives, best reward first."""
        numbered = sorted(enumerate(self.entries, 1), key=lambda pair: -pair[1].reward.mean)
        return [self._row("", self.start), *(self._row(str(number), point) for number, point in numbered)]

    def sweep_rows(self) -> list[tuple[str, ...]]:
        """Return cells under `SWEEP_HEADER`."""
        curve = [point for points in self.sweeps.values() for point in points]
        return [(_named(point), _shown(point.reward), _shown(point.kl), f"{point.tokens.mean:.1f}") for point in curve]

    def summary(self) -> list[str]:
        """Say in sentences what the numbers show."""
        best = max(self.entries, key=lambda point: point.reward.mean)
        lines = [
            f"The starting policy is worth {_shown(self.start.reward)}; "
            f"{best.name} gets the most true reward, {_shown(best.reward)} at {best.kl.mean:.2f} nats."
        ]
        clear = [(point, over) for point in self.entries if (over := self._clearly_over(point))]
        for side, names in (
            ("above", [point.name for point, over in clear if over > 0]),
            ("below", [point.name for point, over in clear if over < 0]),
        ):
            if names:
                lines.append(f"More than two standard errors {side} DPO at the same KL: {'; '.join(names)}.")
        failed = [point.name for point in self.failed()]
        lines.append(f"Not above the starting policy: {'; '.join(failed) or 'none'}.")
        if any(point.kept for points in (self.entries, *self.sweeps.values()) for point in points):
            lines.append(f"{_KEPT} A mean of earlier runs, on another fit of the starting policy{self._again()}.")
        return lines

    def _again(self) -> str:
        """Say how the means of before compare with what was measured again."""
        each = [f"{now.name} {_shown(kept.reward)} and {_shown(now.reward)}" for kept, now in self.twice]
        return f"; true reward then and now: {', '.join(each)}" if each else ""

    def failed(self) -> list[Point]:
        """Return the objectives whose true reward is not above that of the starting policy by two standard errors."""
        return [point for point in self.entries if not point.raises_reward(self.start)]

    def _row(self, number: str, point: Point) -> tuple[str, ...]:
        over, seeds = self._over_yardstick(point), self.start.seeds
        return (
            number,
            _named(point) + (f" ({point.seeds} of {seeds} seeds)" if point.seeds < seeds else ""),
            _shown(point.reward),
            _shown(point.kl),
            "" if over is None else f"{over:+.2f}",
            f"{point.tokens.mean:.1f}",
            "does not raise the true reward" if point in self.failed() else "",
        )

    def _over_yardstick(self, point: Point) -> float | None:
        return over_curve(point, self.sweeps.get(_YARDSTICK, ()))

    def _clearly_over(self, point: Point) -> float:
        """Return the distance from the yardstick, or 0 where it is within the errors."""
        over = self._over_yardstick(point) or 0.0
        return over if abs(over) > 2 * point.reward.error else 0.0


def _named(point: Point) -> str:
    return f"{point.name} {_KEPT}" if point.kept else point.name


def _shown(value: Estimate) -> str:
    return f"{value.mean:.2f} ± {value.error:.2f}"
