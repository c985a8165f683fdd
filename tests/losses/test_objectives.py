"""One battery over every objective, and what each says about itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dpo_lightning.batch import PairScores
from dpo_lightning.errors import InputError
from dpo_lightning.losses import DPO, IPO, SFT, Hinge, Objective

OBJECTIVES: dict[str, Objective] = {
    "dpo": DPO(beta=0.5),
    "cdpo": DPO(beta=0.5, label_smoothing=0.1),
    "ipo": IPO(tau=0.25),
    "ipo_per_token": IPO(tau=0.25, per_token=True),
    "hinge": Hinge(beta=0.5),
    "sft": SFT(),
}
# Loss where policy and reference agree: ln 2, 1 / (4 tau^2) = 4, 1.
START = {"dpo": math.log(2), "cdpo": math.log(2), "ipo": 4.0, "ipo_per_token": 4.0, "hinge": 1.0}
every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
CHOSEN_LENGTHS, REJECTED_LENGTHS = torch.tensor([4, 2, 5]), torch.tensor([3, 8, 5])


def scores_of(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor
) -> PairScores:
    lengths = CHOSEN_LENGTHS[: len(policy_chosen)], REJECTED_LENGTHS[: len(policy_chosen)]
    return PairScores(policy_chosen, policy_rejected, reference_chosen, reference_rejected, *lengths)


def some_scores(dtype: torch.dtype = torch.float64) -> PairScores:
    """Log-ratios within 1 nat, so that no objective is flat."""
    reference = -10 - torch.rand(2, 3, dtype=torch.float64)
    policy = reference + torch.rand(2, 3, dtype=torch.float64) - 0.5
    return scores_of(*policy.to(dtype), *reference.to(dtype))


def gradients(objective: Objective, scores: PairScores) -> tuple[Tensor, Tensor]:
    """Of the summed loss by the policy's two log-probs; zeros where the loss does not read one."""
    chosen = scores.policy_chosen_logps.clone().requires_grad_()
    rejected = scores.policy_rejected_logps.clone().requires_grad_()
    loss = objective(scores._replace(policy_chosen_logps=chosen, policy_rejected_logps=rejected)).sum()
    by_chosen, by_rejected = torch.autograd.grad(loss, (chosen, rejected), allow_unused=True)
    assert by_chosen is not None
    return by_chosen, torch.zeros_like(rejected) if by_rejected is None else by_rejected


@every_objective
def test_pushes_the_chosen_up_and_the_rejected_down(objective: Objective) -> None:
    by_chosen, by_rejected = gradients(objective, some_scores())

    assert (by_chosen < 0).all()
    assert (by_rejected > 0).all() if objective.needs_reference else (by_rejected == 0).all()


@every_objective
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extremes_stay_finite(objective: Objective, size: float) -> None:
    there, zero = torch.full((1,), size), torch.zeros(1)
    for scores in (scores_of(there, zero, zero, zero), scores_of(zero, there, zero, zero)):
        results = objective(scores), *objective.rewards(scores), *gradients(objective, scores)

        assert all(result.isfinite().all() for result in results)


@every_objective
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_scores_cost_no_more_than_their_own_rounding(objective: Objective, dtype: torch.dtype) -> None:
    low = PairScores(*(value.to(dtype) if value.is_floating_point() else value for value in some_scores()))
    # The log-ratio is the caller's subtraction; it is exact here, so that only the loss itself is measured.
    low = low._replace(
        reference_chosen_logps=torch.zeros(3, dtype=dtype), reference_rejected_logps=torch.zeros(3, dtype=dtype)
    )
    exact = PairScores(*(value.double() if value.is_floating_point() else value for value in low))

    losses = objective(low)

    tolerance = 1e-6 if objective != OBJECTIVES["ipo_per_token"] else 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(losses.double(), objective(exact), rtol=tolerance, atol=tolerance)
    assert losses.dtype == torch.float32


@every_objective
def test_gradcheck(objective: Objective) -> None:
    scores = some_scores()

    def losses(chosen: Tensor, rejected: Tensor) -> Tensor:
        return objective(scores._replace(policy_chosen_logps=chosen, policy_rejected_logps=rejected))

    inputs = (scores.policy_chosen_logps.requires_grad_(), scores.policy_rejected_logps.requires_grad_())

    assert torch.autograd.gradcheck(losses, inputs)


@every_objective
def test_only_the_log_ratios_count(objective: Objective) -> None:
    scores = some_scores()
    moved = scores_of(*(value - 3 for value in scores[:4]))

    same = torch.allclose(objective(moved), objective(scores), rtol=1e-10)

    assert same == objective.needs_reference


@every_objective
def test_a_loss_of_a_pair_does_not_depend_on_the_others(objective: Objective) -> None:
    scores = some_scores()

    alone = torch.cat([objective(PairScores(*(value[[pair]] for value in scores))) for pair in range(3)])

    torch.testing.assert_close(objective(scores), alone)


@pytest.mark.parametrize("name", START)
def test_start_value_where_policy_and_reference_agree(name: str) -> None:
    policy = some_scores()[:2]
    scores = scores_of(*policy, *policy)
    rewards = torch.cat(OBJECTIVES[name].rewards(scores))

    assert OBJECTIVES[name](scores).tolist() == pytest.approx([START[name]] * 3)
    assert rewards.tolist() == [0.0] * 6


def test_ipo_per_token_by_hand() -> None:
    # Log-ratios 8 over 4 tokens and 3 over 3: the margin is 2 - 1 = 1, and 1 / (2 tau) = 2.
    scores = scores_of(*(torch.tensor([value]) for value in (-2.0, -7.0, -10.0, -10.0)))

    assert IPO(tau=0.25, per_token=True)(scores).item() == pytest.approx(1.0)
    # Summed log-ratios: 8 - 3 = 5.
    assert IPO(tau=0.25)(scores).item() == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("name", "chosen", "rejected"),
    [
        ("dpo", 4.0, 1.5),  # beta x log-ratio: 0.5 x 8, 0.5 x 3
        ("cdpo", 4.0, 1.5),
        ("ipo", 2.0, 0.75),  # tau x log-ratio: 0.25 x 8, 0.25 x 3
        ("ipo_per_token", 0.5, 0.25),  # over 4 tokens and 3
        ("hinge", 4.0, 1.5),
        ("sft", -0.5, -7 / 3),  # log-prob per token: -2 / 4, -7 / 3
    ],
)
def test_rewards_by_hand(name: str, chosen: float, rejected: float) -> None:
    scores = scores_of(*(torch.tensor([value]) for value in (-2.0, -7.0, -10.0, -10.0)))

    rewards = torch.cat(OBJECTIVES[name].rewards(scores))

    assert rewards.tolist() == pytest.approx([chosen, rejected])


@pytest.mark.parametrize("value", [0.0, -0.1, math.nan, math.inf])
@pytest.mark.parametrize(("kind", "field"), [(DPO, "beta"), (IPO, "tau"), (Hinge, "beta")])
def test_refuses_a_strength_that_is_not_positive(kind: Callable[..., Objective], field: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^{kind.__name__}\.{field} must be a finite number greater than 0, got"):
        kind(**{field: value})


@pytest.mark.parametrize("value", [0.5, 1.0, -0.1, math.nan])
def test_refuses_label_smoothing_that_erases_the_labels(value: float) -> None:
    with pytest.raises(InputError, match=r"^DPO\.label_smoothing must be in \[0, 0\.5\), got"):
        DPO(label_smoothing=value)


@pytest.mark.parametrize(
    "settings", [{"beta": 0.3}, {"label_smoothing": 0.2}, {"beta": 0.3, "label_smoothing": 0.2}], ids=str
)
def test_every_setting_is_read(settings: dict[str, Any]) -> None:
    scores = some_scores()

    assert not torch.equal(DPO(**settings)(scores), DPO()(scores))


def test_an_own_objective_needs_its_three_members() -> None:
    class Unfinished(Objective):
        def __call__(self, scores: PairScores) -> Tensor:
            return scores.chosen_logratio

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()  # type: ignore[abstract]
