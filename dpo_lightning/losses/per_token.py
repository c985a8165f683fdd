"""Log-probs per token for any kind of objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.losses.any_modifier import AnyModifier, require_any
from dpo_lightning.losses.base import AnyObjective, Reads
from dpo_lightning.losses.compares import Compares

_OF_TOKENS = Reads.LENGTHS | Reads.TOKENS | Reads.COLLISIONS | Reads.MISMATCHED


@dataclass(frozen=True)
class PerToken(AnyModifier):
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
        require_any("PerToken.objective", self.objective)
        name, reads = type(self.objective).__name__, self.objective.reads
        if self.objective.compares is Compares.CHOSEN or reads & _OF_TOKENS:
            raise InputError(
                f"PerToken.objective: {name} reads lengths, single tokens or completions of other prompts, which no "
                "division of its log-probs would change: write it without PerToken"
            )

    @property
    def reads(self) -> Reads:
        """The scores that the objective reads, and lengths."""
        return self.objective.reads | Reads.LENGTHS

    def given(self, scores: Any) -> Any:
        """Return the scores with log-probs per token."""
        return scores.per_token()
