"""Base of the objectives whose reward is beta x log-ratio."""

# No postponed annotations: jsonargparse evaluates those of a base with the names of the subclass's file.
from typing import ClassVar

from dpo_lightning.losses.base import Objective, Reads, Rewards
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, require


class BetaObjective(Objective):
    """An objective on pairs whose implicit reward is beta x log-ratio, arXiv:2305.18290 equation 5.

    The partition function of that equation is left out: it depends on the prompt alone and cancels in a margin. A
    subclass is a frozen dataclass with a field `beta`, and implements `__call__`. It extends `reads` where its loss
    reads more than the reference's log-probs, and `__post_init__` where it has more settings to check.
    """

    beta: float
    reads: ClassVar[Reads] = Reads.REFERENCE

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE)

    def rewards(self, scores: PairScores) -> Rewards:
        """Return beta x log-ratio of the chosen and of the rejected completions, each `[P]`."""
        return self.beta * scores.chosen_logratio, self.beta * scores.rejected_logratio
