"""The rounds as tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.frontier import Protocol, RunStore
from benchmarks.frontier.measure import Estimate
from benchmarks.rounds.arms import ARMS, Arm
from benchmarks.rounds.curves import Curve, Point, is_clear, over, point_of

HEADER = ("arm", "β", "true reward", "KL, nats", "over the lab's pairs", "over the first policy's", "tokens")
BY_ROUND = ("β", "first policy", "round 1", "round 2", "round 3")


class Results(NamedTuple):
    """What was run.

    Attributes:
        start: The first policy.
        curves: A curve of each arm, that of one round on the lab's pairs first, that of rounds last.
        stages: Of each point of the last curve, the points after each of its rounds.
    """

    start: Point
    curves: Sequence[Curve]
    stages: Sequence[Curve]

    def rows(self) -> list[tuple[str, ...]]:
        """Return cells under `HEADER`."""
        return [self._row(number, point) for number, curve in enumerate(self.curves) for point in curve]

    def _row(self, number: int, point: Point) -> tuple[str, ...]:
        differences = [over(point, curve) if place < number else None for place, curve in enumerate(self.curves[:2])]
        return (
            point.arm.name,
            f"{point.arm.beta:g}",
            _shown(point.reward),
            _shown(point.kl),
            *("" if each is None else _shown(each, sign="+") for each in differences),
            f"{point.tokens.mean:.1f}",
        )

    def by_round(self) -> list[tuple[str, ...]]:
        """Return cells under `BY_ROUND`: true reward at KL divergence."""
        return [
            (
                f"{curve[0].arm.beta:g}",
                *(f"{_shown(point.reward)} at {point.kl.mean:.2f}" for point in (self.start, *curve)),
            )
            for curve in self.stages
        ]

    def summary(self) -> list[str]:
        """Say in sentences what the numbers show."""
        *single, rounds = self.curves
        best = max(rounds, key=lambda point: point.reward.mean)
        lines = [
            f"The first policy is worth {_shown(self.start.reward)}. The most true reward of three rounds is "
            f"{_shown(best.reward)} at {best.kl.mean:.2f} nats; "
            + ", ".join(f"that of {curve[0].arm.name} {_most(curve)}" for curve in single)
            + "."
        ]
        return [*lines, *(self._compared(rounds, curve) for curve in single)]

    def _compared(self, rounds: Curve, curve: Curve) -> str:
        met = [(point, difference) for point in rounds if (difference := over(point, curve)) is not None]
        clear = [(point, difference) for point, difference in met if is_clear(difference)]
        said = ", ".join(f"{_shown(difference, sign='+')} at {point.kl.mean:.2f} nats" for point, difference in met)
        return (
            f"Three rounds over the best of {curve[0].arm.name} at no more KL: {said or 'nothing to compare'}; "
            f"{len(clear)} of {len(met)} are above by more than two standard errors."
        )


def results(
    store: RunStore, seeds: Sequence[int], protocol: Protocol, arms: Sequence[Sequence[Arm]] = ARMS
) -> Results | None:
    """Return what was run with all of these seeds; None before each arm has a point."""

    def found(arm: Arm, done: int) -> list[Point]:
        point = point_of(arm, done, seeds, protocol, store)
        return [] if point is None else [point]

    curves = [[point for arm in curve for point in found(arm, arm.rounds)] for curve in arms]
    start = found(first_of(arms), 0)
    if not (start and all(curves)):
        return None
    stages = [
        [each for done in range(1, point.arm.rounds + 1) for each in found(point.arm, done)] for point in curves[-1]
    ]
    return Results(start[0], curves, stages)


def first_of(arms: Sequence[Sequence[Arm]]) -> Arm:
    """Return the arm by whose name the measurement of the first policy is kept."""
    return arms[-1][0]


def _most(curve: Curve) -> str:
    best = max(curve, key=lambda point: point.reward.mean)
    return f"{_shown(best.reward)} at {best.kl.mean:.2f} nats"


def _shown(value: Estimate, sign: str = "") -> str:
    return f"{value.mean:{sign}.2f} ± {value.error:.2f}"
