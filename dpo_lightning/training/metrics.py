"""Metrics of each pair or completion, and torchmetrics that average them over batches and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dpo_lightning.compat.torchmetrics import Float32Metric
from dpo_lightning.losses.scores import ChosenScores, PairScores, UnpairedScores

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

_LOGRATIOS = frozenset(("logratios", "logratios/chosen", "logratios/rejected"))


def pair_metrics(
    scores: PairScores,
    rewards: tuple[Float[Tensor, " P"], Float[Tensor, " P"]],
    losses: Float[Tensor, " P"],
    *,
    has_reference: bool = True,
) -> dict[str, Float[Tensor, " P"]]:
    """Values of each pair `[P]`, detached, on the device; the keys are `NAMES`, without a reference no log-ratios.

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
    named = zip(NAMES, values, strict=True)
    return {name: value.detach() for name, value in named if has_reference or name not in _LOGRATIOS}


def chosen_metrics(
    scores: ChosenScores, rewards: Float[Tensor, " P"], losses: Float[Tensor, " P"], *, has_reference: bool
) -> dict[str, Float[Tensor, " P"]]:
    """Return the values of `pair_metrics` that chosen completions alone have; a log-ratio only with a reference."""
    values = {"loss": losses, "rewards/chosen": rewards, "logps/chosen": scores.policy_chosen_logps}
    if has_reference:
        values["logratios/chosen"] = scores.chosen_logratio
    return {name: value.detach() for name, value in values.items()}


class PairMean(Float32Metric):
    """Mean over pairs of the values of `pair_metrics`, weighted by pairs over batches and ranks.

    The sums and the number of pairs are one tensor, so that ranks exchange one.

    Args:
        has_reference: Whether there are log-ratios.
    """

    full_state_update = False
    names = frozenset(NAMES)
    totals: Tensor

    def __init__(self, *, has_reference: bool = True) -> None:
        super().__init__()
        self._absent = frozenset() if has_reference else _LOGRATIOS
        self.add_state("totals", torch.zeros(len(NAMES) + 1, dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, values: Mapping[str, Float[Tensor, " P"]]) -> None:
        """Add the pairs of a batch."""
        # Not in place: a reset inside Lightning's inference mode makes a tensor that nothing outside may write to.
        self.totals = self.totals + self.sums(values)

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """The means, 0-d float32 on the device; NaN when no pair was added."""
        return self.means(self.totals)

    def sums(self, values: Mapping[str, Float[Tensor, " P"]]) -> Tensor:
        """Return what a batch adds to `totals`."""
        nothing = torch.zeros_like(values["loss"])
        stacked = torch.stack([nothing if name in self._absent else values[name] for name in NAMES]).float()
        return torch.cat([stacked.sum(-1), stacked.new_full((1,), stacked.shape[-1])])

    def means(self, totals: Tensor) -> dict[str, Float[Tensor, ""]]:
        """Return the means that such sums make."""
        means = zip(NAMES, totals[:-1] / totals[-1], strict=True)
        return {name: mean for name, mean in means if name not in self._absent}


class ChosenMean(Float32Metric):
    """Mean of the values of `pair_metrics` over pairs, or of those that `chosen_metrics` has.

    Each mean has its own count, and one of which nothing was added is left out.
    """

    full_state_update = False
    names = frozenset(NAMES)
    totals: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(2, len(NAMES), dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, values: Mapping[str, Float[Tensor, " P"]]) -> None:
        """Add the examples of a batch."""
        self.totals = self.totals + self.sums(values)  # not in place, as in PairMean

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """Return the means, 0-d float32 on the device: one wait for the device."""
        return self.means(self.totals)

    def sums(self, values: Mapping[str, Float[Tensor, " P"]]) -> Tensor:
        """Return what a batch adds to `totals`."""
        nothing = torch.zeros_like(values["loss"])
        stacked = torch.stack([values.get(name, nothing) for name in NAMES]).float()
        counted = torch.stack([torch.full_like(nothing, name in values) for name in NAMES]).float()
        return torch.stack([stacked.sum(-1), counted.sum(-1)])

    def means(self, totals: Tensor) -> dict[str, Float[Tensor, ""]]:
        """Return the means that such sums make."""
        return counted_means(NAMES, totals)


_OF_ALL = ("loss", "rewards/accuracies", "rewards/reference_point", "kl")
_BY_LABEL = ("rewards", "logps", "logratios")
_LABELS = ("chosen", "rejected")

UNPAIRED_NAMES = (*_OF_ALL, *(f"{name}/{label}" for label in _LABELS for name in _BY_LABEL))


def unpaired_metrics(
    scores: UnpairedScores,
    rewards: Float[Tensor, " C"],
    reference_point: Float[Tensor, ""],
    losses: Float[Tensor, " C"],
    *,
    has_reference: bool = True,
) -> dict[str, Shaped[Tensor, " _"]]:
    """Values of each labelled completion `[C]`, and the labels themselves, detached, on the device.

    A completion counts as accurate when its reward is above the reference point and it is desirable, or not above it
    and undesirable. `kl` `[P]` is the log-ratio of each prompt with a completion of another one, whose mean
    estimates the KL divergence from the reference; only there where the objective reads it, as are log-ratios. Units
    are those of `pair_metrics`.
    """
    values = {
        "loss": losses,
        "rewards": rewards,
        "rewards/accuracies": ((rewards > reference_point) == scores.desirable).to(losses.dtype),
        "rewards/reference_point": reference_point.expand_as(losses),
        "logps": scores.policy_logps,
        "logratios": scores.logratio,
        "desirable": scores.desirable,
    }
    if scores.policy_mismatched_logps is not None and scores.reference_mismatched_logps is not None:
        values["kl"] = scores.policy_mismatched_logps - scores.reference_mismatched_logps
    absent = frozenset() if has_reference else _LOGRATIOS | {"kl"}
    return {name: value.detach() for name, value in values.items() if name not in absent}


class UnpairedMean(Float32Metric):
    """Means of the values of `unpaired_metrics` under the names of `PairMean`, over batches and ranks.

    `rewards/chosen` is the mean over the desirable completions, `rewards/rejected` that over the undesirable ones,
    and `rewards/margins` the difference of these two means; so for log-probs and log-ratios. Each mean has its own
    count, so that a batch without one of the labels adds nothing to that label's.
    """

    full_state_update = False
    names = frozenset((*UNPAIRED_NAMES, "rewards/margins"))
    totals: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(2, len(UNPAIRED_NAMES), dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, values: Mapping[str, Shaped[Tensor, " _"]]) -> None:
        """Add the completions of a batch."""
        self.totals = self.totals + self.sums(values)  # not in place, as in PairMean

    def sums(self, values: Mapping[str, Shaped[Tensor, " _"]]) -> Tensor:
        """Return what a batch adds to `totals`."""
        desirable = values["desirable"]
        nothing = torch.zeros_like(values["loss"])
        columns = [_filled(values.get(name, nothing[:0]), len(nothing)) for name in _OF_ALL]
        counted = [
            _filled(torch.ones_like(values.get(name, nothing[:0]), dtype=torch.bool), len(nothing)) for name in _OF_ALL
        ]
        for mask in (desirable, ~desirable):
            columns += [values.get(name, nothing) for name in _BY_LABEL]
            counted += [mask & (name in values) for name in _BY_LABEL]
        mask = torch.stack(counted)
        sums = torch.where(mask, torch.stack(columns).float(), 0).sum(-1)
        return torch.stack([sums, mask.float().sum(-1)])

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """The means, 0-d float32 on the device, without those of which nothing was added: one wait for the device."""
        return self.means(self.totals)

    def means(self, totals: Tensor) -> dict[str, Float[Tensor, ""]]:
        """Return the means that such sums make."""
        means = counted_means(UNPAIRED_NAMES, totals)
        if {"rewards/chosen", "rewards/rejected"} <= means.keys():
            means["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
        return means


def _filled(values: Shaped[Tensor, " M"], size: int) -> Shaped[Tensor, " C"]:
    """Values of as many prompts or completions, with zeros behind them for further completions."""
    return torch.nn.functional.pad(values, (0, size - len(values)))


def counted_means(names: Sequence[str], totals: Float[Tensor, "2 K"]) -> dict[str, Float[Tensor, ""]]:
    """Return the means, from sums and counts, of which anything was added."""
    sums, counts = totals
    means = dict(zip(names, sums / counts, strict=True))
    return {name: means[name] for name in _counted(names, counts)}


def _counted(names: Sequence[str], counts: Float[Tensor, " K"]) -> list[str]:
    return [name for name, count in zip(names, counts.tolist(), strict=True) if count]
