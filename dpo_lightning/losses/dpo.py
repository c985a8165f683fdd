"""Direct Preference Optimization, and its conservative form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.base import MarginObjective, logratios
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.precision import margin
from dpo_lightning.losses.scores import PairScores
from dpo_lightning.utils.settings import POSITIVE, SHARE_OF_FLIPS, require


def dpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " P"]:
    r"""Direct Preference Optimization, arXiv:2305.18290 equation 7.

    .. math:: L = -(1-\varepsilon) \log\sigma(\beta\Delta) - \varepsilon \log\sigma(-\beta\Delta)

    with `Delta` the chosen minus the rejected log-ratio. `epsilon = 0` is the paper's loss. A positive `epsilon` is
    conservative DPO (cDPO, https://ericmitchell.ai/cdpo.pdf equation 3), which assumes that this share of the labels is
    flipped and has its minimum at a finite margin.

    Args:
        chosen_logratio: `[P]`, nats.
        rejected_logratio: `[P]`, nats.
        beta: Strength of the pull towards the reference, > 0. Smaller lets the policy move further.
        label_smoothing: The assumed share of flipped labels, in `[0, 0.5)`.

    Returns:
        `[P]`; ln 2 where the two log-ratios are equal.
    """
    scaled_margin = beta * margin(chosen_logratio, rejected_logratio)
    return -(1 - label_smoothing) * F.logsigmoid(scaled_margin) - label_smoothing * F.logsigmoid(-scaled_margin)


@dataclass(frozen=True)
class DPO(BetaObjective, MarginObjective):
    """Direct Preference Optimization, arXiv:2305.18290; reward = beta x log-ratio.

    Start with this one: it has few settings, and the other objectives are compared with it.

    Args:
        beta: Strength of the pull towards the reference, > 0; the paper uses 0.1, and 0.5 for summarisation.
        label_smoothing: Assumed share of flipped labels, in [0, 0.5); above 0 this is conservative DPO (cDPO),
            which keeps the margin finite where labels are noisy.

    Example:
        >>> import torch
        >>> from dpo_lightning.losses import DPO
        >>> from dpo_lightning.losses.scores import PairScores
        >>> logps = torch.tensor([[-10.0], [-14.0], [-12.0], [-12.0]])  # the policy's two, then the reference's
        >>> scores = PairScores(*logps, chosen_lengths=torch.tensor([4]), rejected_lengths=torch.tensor([2]))
        >>> DPO(beta=0.5)(scores)  # -log sigmoid(0.5 x (2 + 2))
        tensor([0.1269])
        >>> DPO(beta=0.5).rewards(scores)
        (tensor([1.]), tensor([-1.]))
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    scales_with_beta: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, beta=POSITIVE, label_smoothing=SHARE_OF_FLIPS)

    def __call__(self, scores: PairScores) -> Float[Tensor, " P"]:
        """Return the loss `[P]`, see `dpo`."""
        return dpo(*logratios(scores), beta=self.beta, label_smoothing=self.label_smoothing)
