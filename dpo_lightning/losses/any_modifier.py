"""Objectives around others: of pairs, and of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.base import AnyObjective, Objective, Observation, Reads
from dpo_lightning.losses.compares import Compares
from dpo_lightning.losses.wrapped import require_complete


class AnyModifier(AnyObjective):
    """An objective that wraps one of any kind, of which it changes the scores; `Modifier` wraps one of pairs.

    Everything that it does not change is the wrapped objective's.
    """

    if TYPE_CHECKING:  # the parser reads a base's annotations by the names of the subclass's module
        objective: AnyObjective

    @property
    def unmodified(self) -> AnyObjective:
        """The objective inside."""
        return self.objective.unmodified

    @property
    def compares(self) -> Compares:
        """The completions that the objective compares."""
        return self.objective.compares

    @property
    def fewest_completions(self) -> int:
        """Completions of an example that the objective needs at least."""
        return self.objective.fewest_completions

    @property
    def reads(self) -> Reads:
        """The scores that the objective reads."""
        return self.objective.reads

    @property
    def reads_columns(self) -> frozenset[str]:
        """The columns that the objective reads, and those of `reads`."""
        return self.reads.columns | self.objective.reads_columns

    def given(self, scores: Any) -> Any:
        """Return the scores that are passed to the objective."""
        return scores

    def __call__(self, scores: Any) -> Float[Tensor, " _"]:
        """Return the objective's losses of these scores."""
        return self.objective(self.given(scores))

    def rewards(self, scores: Any) -> Any:
        """Return the objective's rewards of these scores."""
        return self._inner.rewards(self.given(scores))

    def reference_point(self, scores: Any) -> Float[Tensor, ""]:
        """Return the objective's reference point of these scores, of completions with a label."""
        return self._inner.reference_point(self.given(scores))

    def observe(self, scores: Any) -> Observation | None:
        """Return the objective's observation of these scores."""
        return self.objective.observe(self.given(scores))

    @property
    def _inner(self) -> Any:
        return self.objective


class Modifier(AnyModifier, Objective):
    """An objective of pairs that wraps another one, and may transform the scores passed in or the loss returned.

    It compares pairs, whatever the other one does, unless it says otherwise.
    """

    compares = Compares.PAIRS

    @property
    def unmodified(self) -> AnyObjective:
        """The objective itself."""
        return self


def require_any(name: str, objective: Any) -> None:
    """Refuse what is no objective of any kind, and one that does not say what it compares and reads.

    Raises:
        InputError: naming the setting.
    """
    if not isinstance(objective, AnyObjective):
        raise InputError(f"{name} must be an objective, such as DPO(...), got {objective!r:.60}")
    require_complete(name, objective)
