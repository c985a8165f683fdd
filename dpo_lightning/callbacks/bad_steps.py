"""The rule for a bad optimizer step, how many of a run were left out, and when that is too many."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any

import torch
from jaxtyping import Bool, Float
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from dpo_lightning.callbacks.guarded_step import GuardedStep
from dpo_lightning.callbacks.scaler_skips import ScalerSkips
from dpo_lightning.errors import RunError

_NORMS = 100  # optimizer steps whose gradient norms a spike is measured against
_FEWEST = 10


class BadSteps:
    """The rule for a bad step, and the count of those that were skipped.

    Args:
        skips: Bad steps that may be skipped before the run stops.
        spike: Multiple of the usual norm from which a step is bad; None for no such rule.

    Attributes:
        skipped: Bad steps so far.
        by_scaler: Those that a gradient scaler left out.
        stopped: What the run stopped at after that step was left out; None of one that goes on.
    """

    def __init__(self, skips: int, spike: float | None) -> None:
        self.skips = skips
        self.spike = math.inf if spike is None else spike
        self.skipped = 0
        self.by_scaler = ScalerSkips()
        self.stopped: str | None = None
        self._norms: deque[float] = deque(maxlen=_NORMS)

    def find(self, norm: float, *, losses_finite: bool) -> str | None:
        """Return what is wrong with a step, or None, and take its norm into account.

        Args:
            norm: The gradient's.
            losses_finite: Whether the losses of all ranks are.
        """
        usual = self._usual()
        if not losses_finite:
            return "a loss is not finite"
        if not math.isfinite(norm):
            return f"the gradient norm is {norm} although the losses are finite,"
        if usual is not None and norm > self.spike * usual:
            return f"the gradient norm is {norm:.3g}, {norm / usual:.1f} times the usual {usual:.3g},"
        self._norms.append(norm)
        return None

    def found_on_device(self, measured: Float[Tensor, "3"]) -> Bool[Tensor, ""]:
        """Return on the device whether `find` will find anything: all earlier norms are known by now.

        Args:
            measured: As `GuardedStep.measured` gives it.
        """
        usual = self._usual()
        norm, _, bad = measured.double()  # as a number on the host is
        return (bad > 0) | ~torch.isfinite(norm) | (norm > (math.inf if usual is None else self.spike * usual))

    def _usual(self) -> float | None:
        """Return the norm that a spike is a multiple of; None before there are enough, and where most are 0."""
        asked = not math.isinf(self.spike) and len(self._norms) >= _FEWEST
        return (statistics.median(self._norms) or None) if asked else None

    def count(self, step: GuardedStep, problem: str, *, losses_finite: bool) -> None:
        """Count a bad step as skipped, and say so; every rank must call.

        Raises:
            RunError: naming the optimizer step and the pairs, when no step may be skipped (any more).
        """
        if not losses_finite:
            step.check_reference(problem)
        message = f"{problem} at optimizer step {step.number}, {step.pairs(losses_finite=losses_finite)}"
        if self.skipped >= self.skips:
            raise RunError(
                f"{message}{self._after()}: look at these rows, lower the learning rate, or raise the precision"
            )
        self.skipped += 1
        rank_zero_warn(f"{message}: skipped, {self.skipped} of at most {self.skips}")

    def hear(self, step: GuardedStep, norm: float, *, losses_finite: bool, all_ranks: bool) -> None:
        """Count a step that the device has made or left out.

        Args:
            step: The step.
            norm: The gradient's.
            losses_finite: Whether the losses of all ranks are.
            all_ranks: Whether every rank calls: else nothing is raised, and this rank's pairs alone are named.

        Raises:
            RunError: for one too many that was left out.
        """
        problem = self.find(norm, losses_finite=losses_finite)
        if problem is None:
            return
        try:
            if all_ranks:
                self.count(step, problem, losses_finite=losses_finite)
            else:
                self.skipped += 1
        except RunError:
            self.skipped += 1
            raise
        finally:
            if self.skipped > self.skips:
                self.stopped = f"{problem} at optimizer step {step.number}"

    def check_goes_on(self) -> None:
        """Refuse a checkpoint that was taken after the step at which its run stopped.

        Raises:
            RunError: where `skips` does not allow that step.
        """
        if self.stopped is not None and self.skipped > self.skips:
            raise RunError(
                f"the checkpoint is of a run that stopped, its last step left out: {self.stopped}: give "
                f"UpdateGuard(skips={self.skipped}) to go on without it, or an earlier checkpoint"
            )
        self.stopped = None

    def _after(self) -> str:
        """Name what was skipped before the run stops."""
        by_whom = [(self.skipped, "skipped steps"), (self.by_scaler.count, "steps that the gradient scaler skipped")]
        skipped = [f"{count} {what}" for count, what in by_whom if count]
        return f" after {' and '.join(skipped)}" if skipped else ""

    def state(self) -> dict[str, Any]:
        """Return the counts and the norms as a checkpoint holds them."""
        by_scaler = {"scaler_skipped": self.by_scaler.count, "in_a_row": self.by_scaler.in_a_row}
        return {"skipped": self.skipped, **by_scaler, "norms": list(self._norms), "stopped": self.stopped}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; older ones count no steps that a scaler skipped, and know no stop."""
        self.skipped = state["skipped"]
        self.by_scaler.restore(state.get("scaler_skipped", 0), state.get("in_a_row", 0))
        self._norms = deque(state["norms"], maxlen=_NORMS)
        self.stopped = state.get("stopped")
