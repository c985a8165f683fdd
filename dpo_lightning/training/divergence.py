"""The distance of the policy from its reference, on the completions that a batch has."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses.scores import TokenScores


def divergence(tokens: TokenScores) -> Float[Tensor, " S"]:
    """Return an estimate of the KL divergence between policy and reference in nats, of each completion, detached.

    1/2 sum_t (log policy(y_t) - log reference(y_t))^2

    This is the estimator k2 of Schulman (2020, http://joschu.net/blog/kl-approx.html), summed over the tokens of a
    completion. Where the two models are near each other it is the KL divergence in either direction, up to terms of
    third order in the log-ratio, for completions drawn from either model. That holds for pairs whose completions were
    sampled from the model that training begins with, if both are counted: the chosen ones alone are its better half.

    It is no KL divergence under the policy where completions come from elsewhere (another model, people), or far from
    the reference: there it is a distance on the data's completions, 0 where the two agree on every token. The mean
    log-ratio, which is logged as `logratios/...`, is no KL divergence at all then, and may be negative. The estimator
    k3, e^l - 1 - l, has an expectation that is exact, but one token that the reference took for impossible outweighs
    all others. Nothing short of sampling from the policy measures KL(policy || reference) itself.
    """
    logratios = tokens.policy_logps.detach() - tokens.reference_logps.detach()
    return tokens.sum_per_sequence(0.5 * logratios.square())
