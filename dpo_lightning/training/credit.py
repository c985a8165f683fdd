"""Credit of single tokens: the share of each in the reward of its completion, where that is a sum over tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.batch.packed import moved
from dpo_lightning.losses.scores import TokenScores, unread
from dpo_lightning.training.comparison import Comparison

_SIDES = ("chosen", "rejected")
_CLOSE = 1e-9
"""Rounding of float64 in a sum over tokens, as a share of its terms."""


class Credit(NamedTuple):
    """Tokens of completions, in the order of sequences: all those of the first one, then of the second.

    Attributes:
        rewards: Reward of each of the `C` completions, in the scale of the objective; float64, on the host.
        lengths: Tokens of each completion.
        token_ids: Their ids.
        policy_logps: Nats.
        reference_logps: Nats; NaN where the objective reads no reference.
        shares: Share of each token in its completion's reward, which their sum is.
    """

    rewards: Float[Tensor, " C"]
    lengths: list[int]
    token_ids: list[int]
    policy_logps: Float[Tensor, " M"]
    reference_logps: Float[Tensor, " M"]
    shares: Float[Tensor, " M"]


def token_credit(
    comparison: Comparison[Any], batch: PreferenceBatch, tokens: TokenScores, *, has_reference: bool
) -> Credit | None:
    r"""Return the share of each token in the reward of its completion.

    With a reward of beta times the log-ratio, that of a token is

    .. math:: \beta \log \frac{\pi(y_t \mid x, y_{<t})}{\pi_\text{ref}(y_t \mid x, y_{<t})}

    and, in the view of arXiv:2404.12358 (From r to Q*), what the token adds to the value of what was written. The
    reward of another objective may weigh the policy, the reference, or a completion by its length: the objective is
    asked what a nat of each token adds to its reward, and then whether the reward is the sum of what they add.

    Args:
        comparison: That of the objective.
        batch: The batch.
        tokens: Log-probs of its scored tokens.
        has_reference: Whether the objective reads the reference.

    Returns:
        The shares, or None where the reward is no such sum, as that of ORPO.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _Asked(comparison, moved(batch, _own), moved(tokens, _own), has_reference).credit()


class _Asked(NamedTuple):
    """An objective that is asked for the rewards which it makes of log-probs of a batch."""

    comparison: Comparison[Any]
    batch: PreferenceBatch
    tokens: TokenScores
    has_reference: bool

    def credit(self) -> Credit | None:
        """Return the shares; None where the reward is no sum."""
        tokens, count = self.tokens, sum(self.batch.completions)
        ones = torch.ones_like(tokens.policy_logps)
        weights = self._weights(-ones)
        here = torch.stack([tokens.policy_logps, tokens.reference_logps])
        if not all(self._is_sum(weights, values) for values in (torch.stack([-2 * ones, -3 * ones]), here)):
            return None
        kept = tokens.sequence_id < count
        order = tokens.sequence_id[kept].argsort(stable=True)
        ids, policy, reference, shares = (
            each[kept][order] for each in (self.batch.targets, *here, _shares(weights, here).sum(0))
        )
        return Credit(
            self._rewards(*here).detach(), tokens.lengths[:count].tolist(), ids.tolist(), policy, reference, shares
        )

    def _rewards(self, policy: Tensor, reference: Tensor) -> Tensor:
        reference = reference if self.has_reference else unread(reference)
        asked = self.tokens._replace(policy_logps=policy, reference_logps=reference)
        return completion_rewards(self.comparison.predicted(self.batch, self.comparison.scores(self.batch, asked)))

    def _weights(self, at: Tensor) -> Float[Tensor, "2 N"]:
        """Return what a nat of each token adds to a reward, of the policy and of the reference."""
        values = [at.clone().requires_grad_() for _ in range(2)]
        rewards = self._rewards(*values)
        found = torch.autograd.grad(rewards.sum(), values, allow_unused=True) if rewards.requires_grad else [None] * 2
        return torch.stack([torch.zeros_like(at) if each is None else each for each in found])

    def _is_sum(self, weights: Tensor, values: Tensor) -> bool:
        rewards = self._rewards(*values).detach()
        shares = _shares(weights, values)
        sums, sizes = (
            self.tokens.sum_per_sequence(each)[: len(rewards)] for each in (shares.sum(0), shares.abs().sum(0))
        )
        off = (rewards - sums).abs() <= _CLOSE * (sizes + 1e-30)
        return bool((off | (rewards.isnan() & sums.isnan())).all())


def completion_rewards(predicted: Mapping[str, Tensor]) -> Float[Tensor, " C"]:
    """Return the reward of each completion out of what a step predicts, in the order of sequences."""
    if "reward" in predicted:
        return predicted["reward"]
    return torch.cat([predicted[side] for side in _SIDES if side in predicted])


def _shares(weights: Float[Tensor, "2 N"], values: Float[Tensor, "2 N"]) -> Float[Tensor, "2 N"]:
    return torch.where(weights == 0, 0.0, weights * values)  # a reference that nobody reads is NaN


def _own(tensor: Tensor) -> Tensor:
    """Return a copy on the host, with which a gradient can be taken; numbers in float64."""
    return tensor.detach().to("cpu", torch.float64 if tensor.is_floating_point() else tensor.dtype, copy=True)
