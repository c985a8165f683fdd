"""How numbers become places on an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_ROUND = (1, 2, 2.5, 5, 10)
_TICKS = 5
_MANY_TIMES = 200  # the greatest value over the least one from which on an axis is logarithmic


@dataclass(frozen=True)
class Scale:
    """Maps numbers to places between two ends of an axis.

    Args:
        low: Number at `start`.
        high: Number at `stop`, above `low`.
        start: Place of the lowest number, in units of the drawing.
        stop: Place of the highest one.
        logarithmic: Whether equal distances are equal ratios; `low` is then above 0.
        whole: Whether only whole numbers are ticks.
    """

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False
    whole: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a number; beyond the ends, that of the end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round numbers on the axis, five or so."""
        if self.logarithmic:
            return _powers(self.low, self.high)
        step = _step(self.high - self.low, whole=self.whole)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    @property
    def labels(self) -> list[tuple[float, str]]:
        """Ticks with their text."""
        return [(tick, spelled(tick)) for tick in self.ticks]


def spanning(
    values: Iterable[float],
    start: float,
    stop: float,
    *,
    room: float = 0.05,
    logarithmic: bool | None = False,
    whole: bool = False,
) -> Scale:
    """Return a scale that holds all values, with a little room at both ends.

    Args:
        values: Finite numbers; without any the scale is that of 0 to 1.
        start: Place of the least.
        stop: Place of the greatest.
        room: Share of the range that is left free at each end.
        logarithmic: None takes a logarithmic axis where values above 0 are of different orders of magnitude.
        whole: Whether only whole numbers are ticks of an axis that is not logarithmic.
    """
    known = [*values] or [0.0, 1.0]
    low, high = min(known), max(known)
    if logarithmic is None:
        logarithmic = low > 0 and high / low > _MANY_TIMES
    if logarithmic:
        return Scale(low / 1.1, high * 1.1, start, stop, logarithmic=True)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = abs(low) * 0.1 or 0.5
        return Scale(low - half, high + half, start, stop, whole=whole)
    margin = (high - low) * room
    return Scale(low - margin, high + margin, start, stop, whole=whole)


def spelled(value: float) -> str:
    """Return a number as an axis has it: `0.25`, `1,000`, `2e-06`."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{round(value, 6):,.10g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.3g}"


def _step(width: float, *, whole: bool) -> float:
    power = 10.0 ** math.floor(math.log10(width / _TICKS))
    steps = (each * max(1.0, power) for each in _ROUND) if whole else (each * power for each in _ROUND)
    wide = (each for each in steps if each * _TICKS >= width * (1 - 1e-9))
    return next(each for each in wide if not whole or each.is_integer())


def _powers(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / _TICKS))
    return [10.0**power for power in range(first, last + 1, every)]
