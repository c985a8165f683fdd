"""f-DPO against the paper's table, and far out."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import jaxtyping
import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import (
    DPO,
    EXO,
    IPO,
    NCA,
    AlphaDivergence,
    BetaDPO,
    DiscoPOP,
    Divergence,
    FDivergence,
    ForwardKL,
    Hinge,
    JensenShannon,
    LengthNormalizedDPO,
    LengthRegularizedDPO,
    MarginObjective,
    ReverseKL,
    RobustDPO,
)
from tests.losses.battery import Pair, scores_of, some_scores, with_policy

# f(u) of arXiv:2309.16240, table 1.
TABLE: list[tuple[Divergence, Callable[[float], float]]] = [
    (ReverseKL(), lambda u: u * math.log(u)),
    (ForwardKL(), lambda u: -math.log(u)),
    (JensenShannon(), lambda u: u * math.log(u) - (u + 1) * math.log((u + 1) / 2)),
    *(
        (
            AlphaDivergence(alpha),
            lambda u, alpha=alpha: (u ** (1 - alpha) - (1 - alpha) * u - alpha) / (alpha * (alpha - 1)),
        )
        for alpha in (0.3, 0.5, 0.7)
    ),
]
every_divergence = pytest.mark.parametrize("divergence", [row[0] for row in TABLE], ids=repr)


def slope(f: Callable[[float], float], u: float) -> float:
    step = 1e-5 * u
    return (f(u + step) - f(u - step)) / (2 * step)


@pytest.mark.parametrize(("divergence", "f"), TABLE, ids=[repr(row[0]) for row in TABLE])
def test_a_score_is_the_derivative_of_the_papers_f(divergence: Divergence, f: Callable[[float], float]) -> None:
    logratios = [-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0]

    scores = divergence.score(torch.tensor(logratios, dtype=torch.float64)).tolist()

    expected = [slope(f, math.exp(logratio)) - slope(f, 1.0) for logratio in logratios]
    assert scores == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_towards_its_ends_alpha_is_the_two_kls() -> None:
    logratios = torch.linspace(-2, 2, 9, dtype=torch.float64)

    for alpha, limit in ((1e-7, ReverseKL()), (1 - 1e-7, ForwardKL())):
        torch.testing.assert_close(
            AlphaDivergence(alpha).score(logratios), limit.score(logratios), rtol=1e-5, atol=1e-5
        )


@every_divergence
@pytest.mark.parametrize("objective", [DPO(), IPO(), Hinge(), EXO(), RobustDPO(), DiscoPOP()], ids=repr)
def test_far_out_loss_and_gradient_are_finite_in_float32(divergence: Divergence, objective: MarginObjective) -> None:
    for policy in product((-1e4, 0.0, 1e4), repeat=2):
        scores = scores_of([Pair(*policy, 0.0, 0.0)], dtype=torch.float32)
        assert scores.tokens is not None
        tokens = scores.tokens.policy_logps.clone().requires_grad_()

        (loss,) = FDivergence(objective, divergence)(with_policy(scores, tokens))
        loss.backward()

        assert loss.isfinite(), policy
        assert tokens.grad is not None
        assert tokens.grad.isfinite().all(), policy


@every_divergence
@pytest.mark.parametrize("rejected", [-1e4, 0.0, 1e4])
def test_a_chosen_completion_far_below_the_reference_is_still_pulled_up(
    divergence: Divergence, rejected: float
) -> None:
    chosen = torch.tensor([-1e4], requires_grad=True)
    scores = scores_of([Pair(-1e4, rejected, 0.0, 0.0)], dtype=torch.float32)._replace(policy_chosen_logps=chosen)

    FDivergence(DPO(), divergence)(scores).sum().backward()

    assert chosen.grad is not None
    assert chosen.grad.item() < 0


def test_the_reverse_kl_is_the_objective_itself() -> None:
    scores = some_scores(torch.float32)

    for objective in (DPO(), IPO(per_token=True), LengthNormalizedDPO(), LengthRegularizedDPO()):
        wrapped = FDivergence(objective, ReverseKL())

        assert torch.equal(wrapped(scores), objective(scores))
        assert torch.equal(torch.cat(wrapped.rewards(scores)), torch.cat(objective.rewards(scores)))
        assert wrapped.reads == objective.reads


def test_it_observes_what_the_loss_reads() -> None:
    scores = some_scores()
    observed = FDivergence(BetaDPO(), ForwardKL()).observe(scores)

    assert observed is not None
    expected = scores.rejected_logratio.neg().exp() - scores.chosen_logratio.neg().exp()
    torch.testing.assert_close(observed.values, expected)


def test_refuses_a_loss_that_is_not_of_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match=r"^FDivergence\.objective must be a loss of a margin .*, got NCA"):
        FDivergence(NCA(), ForwardKL())  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_refuses_the_ends_of_alpha(alpha: float) -> None:
    with pytest.raises(InputError, match=r"^AlphaDivergence\.alpha must be in \(0, 1\), got"):
        AlphaDivergence(alpha=alpha)


@pytest.mark.parametrize("given", [None, "ForwardKL", DPO()])
def test_what_is_no_divergence_is_refused(given: Any) -> None:
    made = object.__new__(FDivergence)  # the constructor is checked by its types in tests
    vars(made).update(objective=DPO(), divergence=given)
    with pytest.raises(InputError, match=r"^FDivergence\.divergence: .* is no Divergence: give one, such as ForwardKL"):
        made.__post_init__()
