"""Log-probs per token for any kind of objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses.base import AnyObjective, Observation, Reads
from dpo_lightning.losses.compares import Compares
from dpo_lightning.losses.wrapped import require_complete

_OF_TOKENS = Reads.LENGTHS | Reads.TOKENS | Reads.COLLISIONS | Reads.MISMATCHED


@dataclass(frozen=True)
class PerToken(AnyObjective):
    r"""Length normalisation of any objective, as in arXiv:2411.15124; reward = the objective's, of log-probs per token.

    Divides the log-probs of each completion, the policy's and the reference's, by its tokens before the objective reads
    them, so that a long completion does not outweigh a short one by its length alone. It takes objectives of pairs, of
    completions with a label and of lists; `PerToken(DPO(beta=5.0))` is `LengthNormalizedDPO(beta=5.0)`.

    .. math:: \log\pi(y|x) \to \frac{1}{|y|} \log\pi(y|x)

    Args:
        objective: An objective that reads neither lengths nor single tokens, such as `PlackettLuceDPO(beta=5.0)`. Its
            beta is per token: 10 to 100 times larger.
    """

    objective: AnyObjective

    def __post_init__(self) -> None:
        if not isinstance(self.objective, AnyObjective):
            raise InputError(f"PerToken.objective must be an objective, such as DPO(...), got {self.objective!r:.60}")
        require_complete("PerToken.objective", self.objective)
        name, reads = type(self.objective).__name__, self.objective.reads
        if self.objective.compares is Compares.CHOSEN or reads & _OF_TOKENS:
            raise InputError(
                f"PerToken.objective: {name} reads lengths, single tokens or completions of other prompts, which no "
                "division of its log-probs would change: write it without PerToken"
            )

    @property
    def unmodified(self) -> AnyObjective:
        """The objective inside."""
        return self.objective.unmodified

    @property
    def compares(self) -> Compares:
        """The completions that the objective compares."""
        return self.objective.compares

    @property
    def reads(self) -> Reads:
        """The scores that the objective reads, and lengths."""
        return self.objective.reads | Reads.LENGTHS

    @property
    def reads_columns(self) -> frozenset[str]:
        """The columns that the objective reads."""
        return self.objective.reads_columns

    def __call__(self, scores: Any) -> Float[Tensor, " _"]:
        """Return the objective's losses of log-probs per token."""
        return self.objective(scores.per_token())

    def rewards(self, scores: Any) -> Any:
        """Return the objective's rewards of log-probs per token."""
        return self._inner.rewards(scores.per_token())

    def reference_point(self, scores: Any) -> Float[Tensor, ""]:
        """Return the objective's reference point, of completions with a label."""
        return self._inner.reference_point(scores.per_token())

    def observe(self, scores: Any) -> Observation | None:
        """Return the objective's observation of log-probs per token."""
        return self.objective.observe(scores.per_token())

    @property
    def _inner(self) -> Any:
        return self.objective
