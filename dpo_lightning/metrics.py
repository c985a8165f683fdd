"""What is worth watching in a preference run, per pair, and its mean over all pairs of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from dpo_lightning.batch import PairScores

NAMES = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
    "logratios/chosen",
    "logratios/rejected",
)


def pair_metrics(
    scores: PairScores,
    rewards: tuple[Float[Tensor, " P"], Float[Tensor, " P"]],
    losses: Float[Tensor, " P"],
) -> dict[str, Float[Tensor, " P"]]:
    """Values of each pair ``[P]``, detached, on the device; the keys are :data:`NAMES`.

    Rewards are in the objective's scale, log-probs and log-ratios in nats summed over the completion. A pair counts
    as accurate when its chosen reward is the greater one; equal rewards count as not.
    """
    chosen, rejected = rewards
    values = (
        losses,
        chosen,
        rejected,
        chosen - rejected,
        (chosen > rejected).to(losses.dtype),
        scores.policy_chosen_logps,
        scores.policy_rejected_logps,
        scores.chosen_logratio,
        scores.rejected_logratio,
    )
    return {name: value.detach() for name, value in zip(NAMES, values, strict=True)}


class PairMean(Metric):
    """Mean over pairs of the values of :func:`pair_metrics`, weighted by pairs over batches and ranks.

    The sums and the number of pairs are one tensor, so that ranks exchange one. It stays float32 when the module is
    cast: in bfloat16 a count would stop at 256.
    """

    full_state_update = False
    totals: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(len(NAMES) + 1, dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, values: Mapping[str, Float[Tensor, " P"]]) -> None:
        """Add the pairs of a batch."""
        stacked = torch.stack([values[name] for name in NAMES]).float()
        # Not in place: a reset inside Lightning's inference mode makes a tensor that nothing outside may write to.
        self.totals = self.totals + torch.cat([stacked.sum(-1), stacked.new_full((1,), stacked.shape[-1])])

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """The means, 0-d float32 on the device; NaN when no pair was added."""
        return dict(zip(NAMES, self.totals[:-1] / self.totals[-1], strict=True))

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> PairMean:
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)  # type: ignore[return-value]
