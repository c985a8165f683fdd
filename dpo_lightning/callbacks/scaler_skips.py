"""The steps that a gradient scaler leaves out while it looks for its scale, and when it has looked for too long."""

from __future__ import annotations

import math
from typing import Any

_MOST = 32  # in a row: a scale of 2 ** 31 has come down to 1 by then, and one that hardly moves is found


class ScalerSkips:
    """Counts the steps that a scaler skips.

    Attributes:
        count: Those of the run.
        in_a_row: The last ones, of one optimizer.
    """

    def __init__(self) -> None:
        self.count = 0
        self.in_a_row = 0
        self._optimizer: int | None = None  # the `id` of the one whose step was skipped last

    def is_left_to_it(self, norm: float, scale: float, optimizer: Any) -> bool:
        """Return whether the scaler skips the step and may do so, and count it."""
        if math.isfinite(norm):
            if self._optimizer in (None, id(optimizer)):
                self.in_a_row = 0
            return False
        self._optimizer = id(optimizer)
        self.in_a_row += 1
        if scale <= 1 or self.in_a_row >= _MOST:
            return False
        self.count += 1
        return True

    def restore(self, count: int, in_a_row: int) -> None:
        """Go on from a checkpoint's counts."""
        self.count, self.in_a_row, self._optimizer = count, in_a_row, None
