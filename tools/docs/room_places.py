"""Places of rooms on their floors such that few arrows cross and none hides behind a room."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from itertools import pairwise

from tools.docs.import_graph import Floors

COLUMNS = 5.5
_STEP = 0.25
_ROUNDS = 16_000
_LEAST_GAP = 1.15  # between the centres of two rooms of a floor, in widths of a room
_CLEAR = 0.7  # an arrow passes a room this far from its centre, or further

Arrow = tuple[str, str]


def place_rooms(floors: Floors, strong: Iterable[Arrow], weak: Iterable[Arrow]) -> dict[str, tuple[float, float]]:
    """Find a place for each room by simulated annealing; the same one every time.

    Args:
        floors: Rooms of each floor, the highest floor first.
        strong: Arrows that have to be seen.
        weak: Arrows that are drawn beneath; they matter less.

    Returns:
        Centre of each room: widths of a room to the right, floors up.
    """
    plan = _Plan(floors, sorted(strong), sorted(weak))
    draw = random.Random(0)
    best, least = dict(plan.across), plan.cost()
    cost = least
    for number in range(_ROUNDS):
        heat = 12.0 * (1 - number / _ROUNDS) ** 2 + 1e-3
        before = dict(plan.across)
        plan.change(draw)
        changed = plan.cost()
        if changed > cost and draw.random() >= math.exp((cost - changed) / heat):
            plan.across = before
            continue
        cost = changed
        if cost < least:
            best, least = dict(plan.across), cost
    return {room: (best[room], float(plan.up[room])) for room in best}


class _Plan:
    """Places that are tried."""

    def __init__(self, floors: Floors, strong: list[Arrow], weak: list[Arrow]) -> None:
        self.floors, self.strong, self.weak = floors, strong, weak
        self.up = {room: len(floors) - 1 - number for number, floor in enumerate(floors) for room in floor}
        self.rooms = sorted(self.up)
        self.across = {
            room: COLUMNS * (place + 1) / (len(floor) + 1) for floor in floors for place, room in enumerate(floor)
        }

    def change(self, draw: random.Random) -> None:
        """Move a room, or let two rooms of a floor change places."""
        room = draw.choice(self.rooms)
        others = [other for other in self.floors[len(self.floors) - 1 - self.up[room]] if other != room]
        if others and draw.random() < 0.3:
            other = draw.choice(others)
            self.across[room], self.across[other] = self.across[other], self.across[room]
            return
        self.across[room] = _STEP * draw.randrange(int(COLUMNS / _STEP) + 1)

    def cost(self) -> float:
        """Weigh what makes the picture hard to read."""
        return (
            200 * self._crowded()
            + 60 * self._hidden(self.strong)
            + 0.4 * self._hidden(self.weak)
            + 2.5 * self._crossings()
            + 0.5 * sum(abs(self.across[one] - self.across[other]) for one, other in self.strong)
            + 0.35 * sum(abs(across - COLUMNS / 2) for across in self.across.values())
        )

    def _crowded(self) -> float:
        missing = 0.0
        for floor in self.floors:
            places = sorted(self.across[room] for room in floor)
            missing += sum(max(0.0, _LEAST_GAP - (b - a)) for a, b in pairwise(places))
        return missing

    def _hidden(self, arrows: list[Arrow]) -> float:
        """Count rooms that an arrow passes behind, more the nearer to their centre."""
        total = 0.0
        for one, other in arrows:
            high, low = self.up[one], self.up[other]
            slope = (self.across[one] - self.across[other]) / max(high - low, 1)
            for floor in range(low + 1, high):
                at = self.across[other] + slope * (floor - low)
                for room in self.floors[len(self.floors) - 1 - floor]:
                    total += max(0.0, 1 - abs(self.across[room] - at) / _CLEAR)
        return total

    def _crossings(self) -> int:
        lines = [_line(self.across, self.up, arrow) for arrow in self.strong]
        return sum(_cross(one, other) for place, one in enumerate(lines) for other in lines[:place])


Line = tuple[float, float, float, float]


def _line(across: Mapping[str, float], up: Mapping[str, int], arrow: Arrow) -> Line:
    one, other = arrow
    return across[one], up[one], across[other], up[other]


def _cross(one: Line, other: Line) -> bool:
    """Say whether two lines cross between the floors that both pass."""
    high, low = min(one[1], other[1]), max(one[3], other[3])
    if high <= low:
        return False
    above, below = (_at(one, floor) - _at(other, floor) for floor in (high, low))
    return above * below < 0


def _at(line: Line, floor: float) -> float:
    return line[2] + (line[0] - line[2]) * (floor - line[3]) / (line[1] - line[3])
