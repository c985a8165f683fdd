"""Metrics of each pair or completion, and torchmetrics that average them over batches and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dpo_lightning.compat.torchmetrics import Float32Metric
from dpo_lightning.losses.precision import per_token
from dpo_lightning.losses.scores import ChosenScores, PairScores, UnpairedScores
from dpo_lightning.training.divergence import divergence

NAMES = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
    "logps/accuracies",
    "logps/accuracies_per_token",
    "logratios/chosen",
    "logratios/rejected",
    "lengths/chosen",
    "lengths/rejected",
    "kl",
)

_OF_REFERENCE = frozenset(("logratios", "logratios/chosen", "logratios/rejected", "kl", "kl_mismatched"))


def pair_metrics(
    scores: PairScores,
    rewards: tuple[Float[Tensor, " P"], Float[Tensor, " P"]],
    losses: Float[Tensor, " P"],
    *,
    has_reference: bool = True,
) -> dict[str, Float[Tensor, " P"]]:
    """Values of each pair `[P]`, detached, on the device; the keys are `NAMES`, without a reference no log-ratios.

    Rewards are in the objective's scale, log-probs and log-ratios in nats summed over the completion, lengths in scored
    tokens. A pair counts as accurate when its chosen reward is the greater one, and half where both are equal: so a
    policy that equals its reference has 0.5, as one that guesses. `logps/accuracies` asks the same of the log-probs,
    without a reference, and `logps/accuracies_per_token` of the log-probs divided by lengths. `kl` is the mean
    `divergence` of the two completions; scores without tokens have none.
    """
    chosen, rejected = rewards
    logps = scores.policy_chosen_logps, scores.policy_rejected_logps
    lengths = scores.chosen_lengths, scores.rejected_lengths
    values = {
        "loss": losses,
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": is_greater(chosen, rejected),
        "logps/chosen": logps[0],
        "logps/rejected": logps[1],
        "logps/accuracies": is_greater(*logps),
        "logps/accuracies_per_token": is_greater(*map(per_token, logps, lengths)),
        "logratios/chosen": scores.chosen_logratio,
        "logratios/rejected": scores.rejected_logratio,
        "lengths/chosen": lengths[0],
        "lengths/rejected": lengths[1],
    }
    if has_reference and scores.tokens is not None:
        values["kl"] = divergence(scores.tokens).view(2, -1).mean(0)
    return _read(values, has_reference)


def is_greater(better: Float[Tensor, "*#N"], worse: Float[Tensor, "*#N"]) -> Float[Tensor, "*M"]:
    """Return 1 where the first value is the greater one, 1/2 where both are equal, and else 0; shapes are broadcast."""
    return ((better > worse).to(better.dtype) + (better >= worse).to(better.dtype)) / 2


def _read(values: Mapping[str, Tensor], has_reference: bool) -> dict[str, Tensor]:
    """Return the values that mean something, detached."""
    return {name: value.detach() for name, value in values.items() if has_reference or name not in _OF_REFERENCE}


def chosen_metrics(
    scores: ChosenScores, rewards: Float[Tensor, " P"], losses: Float[Tensor, " P"], *, has_reference: bool
) -> dict[str, Float[Tensor, " P"]]:
    """Return the values of `pair_metrics` that chosen completions alone have; with a reference log-ratio and `kl`."""
    values = {
        "loss": losses,
        "rewards/chosen": rewards,
        "logps/chosen": scores.policy_chosen_logps,
        "logratios/chosen": scores.chosen_logratio,
        "lengths/chosen": scores.chosen_lengths,
    }
    if has_reference and scores.tokens is not None:
        values["kl"] = divergence(scores.tokens)
    return _read(values, has_reference)


class PairMean(Float32Metric):
    """Mean over pairs of the values of `pair_metrics`, weighted by pairs over batches and ranks.

    The sums and the number of pairs are one tensor, so that ranks exchange one.

    Args:
        has_reference: Whether there are log-ratios. What a batch lacks beside them is left out from then on.
    """

    full_state_update = False
    names = frozenset(NAMES)
    totals: Tensor

    def __init__(self, *, has_reference: bool = True) -> None:
        super().__init__()
        self._absent = frozenset() if has_reference else _OF_REFERENCE
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
        self._absent |= {*NAMES} - values.keys()
        stacked = torch.stack([values.get(name, nothing) for name in NAMES]).float()
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


_OF_ALL = ("loss", "rewards/accuracies", "rewards/reference_point", "kl", "kl_mismatched")
_BY_LABEL = ("rewards", "logps", "logratios", "lengths")
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

    A completion counts as accurate when its reward is above the reference point and it is desirable, or below it and
    undesirable, and half where the two are equal. `kl` `[C]` is its `divergence`. `kl_mismatched` `[P]` is the
    log-ratio of each prompt with a completion of another one, whose mean is the estimate that KTO's reference point is
    made of (arXiv:2402.01306, section 4.1; TRL logs it as `kl`); only there where the objective reads it. Without a
    reference there are none of these and no log-ratios. Units are those of `pair_metrics`.
    """
    above = is_greater(rewards, reference_point.expand_as(rewards))
    values = {
        "loss": losses,
        "rewards": rewards,
        "rewards/accuracies": torch.where(scores.desirable, above, 1 - above),
        "rewards/reference_point": reference_point.expand_as(losses),
        "logps": scores.policy_logps,
        "logratios": scores.logratio,
        "lengths": scores.lengths,
        "desirable": scores.desirable,
    }
    if has_reference and scores.tokens is not None:
        values["kl"] = divergence(scores.tokens)[: len(losses)]
    if scores.policy_mismatched_logps is not None and scores.reference_mismatched_logps is not None:
        values["kl_mismatched"] = scores.policy_mismatched_logps - scores.reference_mismatched_logps
    return _read(values, has_reference)


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
