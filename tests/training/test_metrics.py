"""What is logged: values by hand, and means over pairs rather than batches."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from dpo_lightning.losses import DPO, KTO
from dpo_lightning.losses.scores import Baseline, PairScores, TokenScores, UnpairedScores, unread
from dpo_lightning.training.metrics import NAMES, PairMean, UnpairedMean, pair_metrics, unpaired_metrics


def values(*losses: float) -> dict[str, Tensor]:
    """The k-th metric of a pair is its loss plus k."""
    return {name: torch.tensor(losses) + k for k, name in enumerate(NAMES)}


def test_pair_metrics_by_hand() -> None:
    scores = PairScores(
        policy_chosen_logps=torch.tensor([-4.0, -9.0], requires_grad=True),
        policy_rejected_logps=torch.tensor([-7.0, -5.0], requires_grad=True),
        reference_chosen_logps=torch.tensor([-6.0, -8.0]),
        reference_rejected_logps=torch.tensor([-6.0, -6.0]),
        chosen_lengths=torch.tensor([2, 2]),
        rejected_lengths=torch.tensor([3, 3]),
    )
    objective = DPO(beta=0.5)

    metrics = pair_metrics(scores, objective.rewards(scores), objective(scores))

    assert {name: value.tolist() for name, value in metrics.items()} == {
        # Margins 1.5 and -1: log(1 + e^-1.5), log(1 + e^1).
        "loss": pytest.approx([0.2014132779827524, 1.3132616875182228]),
        "rewards/chosen": [1.0, -0.5],  # 0.5 x (-4 + 6), 0.5 x (-9 + 8)
        "rewards/rejected": [-0.5, 0.5],
        "rewards/margins": [1.5, -1.0],
        "rewards/accuracies": [1.0, 0.0],
        "logps/chosen": [-4.0, -9.0],
        "logps/rejected": [-7.0, -5.0],
        "logps/accuracies": [1.0, 0.0],
        "logps/accuracies_per_token": [1.0, 0.0],  # -2 against -7/3, -4.5 against -5/3
        "logratios/chosen": [2.0, -1.0],
        "logratios/rejected": [-1.0, 1.0],
        "lengths/chosen": [2, 2],
        "lengths/rejected": [3, 3],
    }
    assert tuple(metrics) == NAMES[:-1]  # without tokens no `kl`
    assert not any(value.requires_grad for value in metrics.values())


def test_equal_rewards_are_half_right() -> None:
    """As those of a guess, which is what a policy that equals its reference makes."""
    zeros = torch.zeros(3)
    scores = PairScores(zeros, zeros, zeros, zeros, torch.ones(3, dtype=torch.long), torch.ones(3, dtype=torch.long))

    metrics = pair_metrics(scores, (zeros, torch.tensor([-1.0, 0.0, 1.0])), zeros)

    assert metrics["rewards/accuracies"].tolist() == [1.0, 0.5, 0.0]
    assert metrics["logps/accuracies"].tolist() == [0.5, 0.5, 0.5]


def test_the_longer_completion_is_less_likely_and_each_of_its_tokens_more() -> None:
    logps, lengths = torch.tensor([-6.0]), torch.tensor([4])
    scores = PairScores(logps, logps + 2, logps, logps, lengths, lengths - 2)

    metrics = pair_metrics(scores, (logps, logps), logps)

    assert metrics["logps/accuracies"].tolist() == [0.0]
    assert metrics["logps/accuracies_per_token"].tolist() == [1.0]  # -1.5 against -2


def test_kl_is_that_of_both_completions() -> None:
    policy, reference = torch.tensor([-1.0, -2.0, -3.0, -1.0, -1.0]), torch.full((5,), -1.0)
    # Completions of two tokens, one, one and one: the chosen ones first.
    lengths = torch.tensor([2, 1, 1, 1])
    tokens = TokenScores(policy.requires_grad_(), reference, torch.tensor([0, 0, 1, 2, 3]), lengths)
    scores = PairScores.from_tokens(tokens)

    found = pair_metrics(scores, (scores.chosen_logratio, scores.rejected_logratio), scores.chosen_logratio)["kl"]

    # Halves of the squares 0 + 1 and 0, and of 4 and 0; means over chosen and rejected.
    assert found.tolist() == [0.25, 1.0]
    assert not found.requires_grad


def test_without_a_reference_or_tokens_there_is_no_kl() -> None:
    logps = torch.full((2,), -1.0)
    tokens = TokenScores(logps, unread(logps), torch.tensor([0, 1]), torch.ones(2, dtype=torch.long))
    for scores, has_reference in (
        (PairScores.from_tokens(tokens), False),
        (PairScores.from_tokens(tokens._replace(reference_logps=logps))._replace(tokens=None), True),
    ):
        metric = PairMean(has_reference=has_reference)
        losses = scores.policy_chosen_logps
        metric.update(pair_metrics(scores, (losses, losses), losses, has_reference=has_reference))
        means = metric.compute()
        assert "kl" not in means
        assert ("logratios/chosen" in means) is has_reference
        assert not any(value.isnan() for value in means.values())


def test_the_mean_is_over_pairs_and_not_over_batches() -> None:
    metric = PairMean()
    metric.update(values(1.0, 2.0, 3.0, 6.0))
    metric.update(values(8.0))

    means = {name: value.item() for name, value in metric.compute().items()}

    # (1 + 2 + 3 + 6 + 8) / 5 = 4, where the mean of the batches' means is (3 + 8) / 2 = 5.5.
    assert means == {name: 4.0 + k for k, name in enumerate(NAMES)}


def test_ranks_add_their_pairs() -> None:
    ranks = [PairMean(), PairMean()]
    ranks[0].update(values(1.0, 2.0, 3.0))
    ranks[1].update(values(9.0))
    merged = PairMean()
    merged.totals = merged._reductions["totals"](torch.stack([rank.totals for rank in ranks]))
    merged._update_count = 1

    assert merged.compute()["loss"].item() == 15 / 4


def test_reset_forgets() -> None:
    metric = PairMean()
    metric.update(values(1.0))
    metric.reset()
    metric.update(values(5.0))

    assert metric.compute()["loss"].item() == 5.0


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric PairMean:UserWarning")
def test_the_mean_of_nothing_is_not_a_number() -> None:
    assert all(math.isnan(value) for value in PairMean().compute().values())


@pytest.mark.parametrize("cast", [lambda m: m.to(torch.bfloat16), nn.Module.bfloat16, nn.Module.half, nn.Module.double])
def test_counts_past_256_however_the_module_is_cast(cast) -> None:
    """`bf16-true` casts the module, where 256 + 1 is 256."""
    holder = nn.Module()
    holder.metric = PairMean()
    cast(holder)
    for _ in range(300):
        holder.metric.update({name: value.to(torch.bfloat16) for name, value in values(1.0).items()})

    assert holder.metric.totals.dtype == torch.float32
    assert holder.metric.totals[-1].item() == 300
    assert holder.metric.compute()["loss"].item() == 1.0
    holder.metric.reset()
    assert holder.metric.totals.dtype == torch.float32


def test_is_float32_whatever_the_default_dtype() -> None:
    """Lightning's half precision plugins set it while they build and run a module."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert PairMean().totals.dtype == torch.float32
    finally:
        torch.set_default_dtype(before)


def test_moves_with_its_module() -> None:
    holder = nn.Module()
    holder.metric = PairMean()
    holder.to("meta")

    assert holder.metric.totals.device.type == "meta"


def test_goes_on_after_a_reset_in_inference_mode() -> None:
    """Lightning's evaluation loops run, and reset, in inference mode."""
    metric = PairMean()
    with torch.inference_mode():
        metric.update(values(1.0))
        metric.reset()
    metric.update(values(2.0))

    assert metric.compute()["loss"].item() == 2.0


def test_is_not_saved() -> None:
    metric = PairMean()
    metric.update(values(1.0))

    assert not metric.state_dict()


def test_warns_of_nothing_in_the_usual_order() -> None:
    metric = PairMean()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            metric.update(values(1.0))
            metric.compute()
            metric.reset()


# Single completions


def unpaired(*labels: bool, mismatched: bool = True) -> dict[str, Tensor]:
    """Completion k has the log-prob -k - 1, a reference 2 nats below it or above it, and z0 = 1."""
    numbers, desirable = torch.arange(len(labels), dtype=torch.float32), torch.tensor(labels)
    policy = (-numbers - 1).requires_grad_()
    reference = policy.detach() + torch.where(numbers % 2 == 0, -2.0, 2.0)
    lengths = torch.ones(len(labels), dtype=torch.long)
    others = (reference + numbers, reference) if mismatched else (None, None)
    means = Baseline(torch.tensor(1.0), torch.tensor(1.0))
    scores = UnpairedScores(policy, reference, lengths, desirable, *others, baseline=means)
    objective = KTO(beta=0.5)
    losses = objective(scores)
    return unpaired_metrics(scores, objective.rewards(scores), objective.reference_point(scores), losses)


def test_unpaired_metrics_by_hand() -> None:
    metrics = unpaired(True, True, False, False)

    assert {name: value.tolist() for name, value in metrics.items()} == {
        # 0.5 x the distances 1 and -3 from z0: 1 - sigmoid, and sigmoid for the other label.
        "loss": pytest.approx([0.3775406688, 0.8175744762, 0.6224593312, 0.1824255238]),
        "rewards": [1.0, -1.0, 1.0, -1.0],
        "rewards/accuracies": [1.0, 0.0, 0.0, 1.0],  # against 0.5
        "rewards/reference_point": [0.5] * 4,
        "logps": [-1.0, -2.0, -3.0, -4.0],
        "logratios": [2.0, -2.0, 2.0, -2.0],
        "lengths": [1, 1, 1, 1],
        "kl_mismatched": [0.0, 1.0, 2.0, 3.0],
        "desirable": [True, True, False, False],
    }
    assert not any(value.requires_grad for value in metrics.values())


def test_each_mean_has_its_own_count() -> None:
    mean = UnpairedMean()
    for labels in ((True, True, False), (False,), (False, True)):
        mean.update(unpaired(*labels))

    means = {name: value.item() for name, value in mean.compute().items()}

    # Rewards 1, -1 | 1; then | 1; then -1 | 1: desirable before the bar, undesirable behind it.
    assert means["rewards/chosen"] == pytest.approx((1 - 1 - 1) / 3)
    assert means["rewards/rejected"] == pytest.approx((1 + 1 + 1) / 3)
    assert means["rewards/margins"] == pytest.approx(-1 / 3 - 1)
    assert means["logps/chosen"] == pytest.approx((-1 - 2 - 2) / 3)
    assert means["logps/rejected"] == pytest.approx((-3 - 1 - 1) / 3)
    assert means["logratios/chosen"] == pytest.approx(-2 / 3)
    assert means["kl_mismatched"] == pytest.approx((0 + 1 + 2 + 0 + 0 + 1) / 6)
    assert means["rewards/accuracies"] == pytest.approx(1 / 6)
    of_pairs = {"logps/accuracies", "logps/accuracies_per_token", "kl"}  # and scores with tokens
    assert {*NAMES} - of_pairs < {*means}


def test_a_completion_at_the_reference_point_is_half_right() -> None:
    zeros, desirable = torch.zeros(2), torch.tensor([True, False])
    scores = UnpairedScores(zeros, zeros, torch.ones(2, dtype=torch.long), desirable)

    metrics = unpaired_metrics(scores, zeros, torch.tensor(0.0), zeros)

    assert metrics["rewards/accuracies"].tolist() == [0.5, 0.5]


def test_what_nothing_was_added_to_has_no_mean() -> None:
    mean = UnpairedMean()
    mean.update(unpaired(True, True, mismatched=False))

    assert [*mean.compute()] == [
        *("loss", "rewards/accuracies", "rewards/reference_point"),
        *("rewards/chosen", "logps/chosen", "logratios/chosen", "lengths/chosen"),
    ]


def test_unpaired_means_stay_float32_and_add_over_ranks() -> None:
    module = nn.Module()
    module.mean = UnpairedMean()
    module.to(torch.bfloat16)
    for _ in range(300):
        module.mean.update(unpaired(True, False))

    assert module.mean.totals.dtype == torch.float32
    assert module.mean.totals[1, 0] == 600
    assert module.mean._reductions["totals"] is not None
