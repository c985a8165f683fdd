"""Preference losses as pure functions: log-ratios in, one loss per pair out.

A log-ratio is the policy's summed completion log-prob minus the reference's, in nats, shape ``[P]``. Nothing is reduced
here; the mean over the batch is the module's. Every function computes in float32 at least, since the square of a margin
overflows float16, and raises ``ValueError`` when its inputs differ in shape, so that nothing broadcasts by accident.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def dpo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " P"]:
    r"""Direct Preference Optimization, arXiv:2305.18290 equation 7.

    .. math:: L = -(1-\varepsilon) \log\sigma(\beta\Delta) - \varepsilon \log\sigma(-\beta\Delta)

    with :math:`\Delta` the chosen minus the rejected log-ratio. :math:`\varepsilon = 0` is the paper's loss; a positive
    one is conservative DPO (cDPO, https://ericmitchell.ai/cdpo.pdf equation 3), which assumes that a share
    :math:`\varepsilon` of the labels is flipped and has its minimum at a finite margin.

    Args:
        chosen_logratio: ``[P]``, nats.
        rejected_logratio: ``[P]``, nats.
        beta: Strength of the pull towards the reference, > 0. Smaller lets the policy move further.
        label_smoothing: The assumed share of flipped labels, in ``[0, 0.5)``.

    Returns:
        ``[P]``; ln 2 where the two log-ratios are equal.
    """
    scaled_margin = beta * _margin(chosen_logratio, rejected_logratio)
    return -(1 - label_smoothing) * F.logsigmoid(scaled_margin) - label_smoothing * F.logsigmoid(-scaled_margin)


def ipo(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    tau: float,
) -> Float[Tensor, " P"]:
    r"""Identity Preference Optimization, arXiv:2310.12036 equation 17.

    .. math:: L = \left(\Delta - \frac{1}{2\tau}\right)^2

    The margin is pulled to :math:`1/2\tau` instead of growing without bound, so the policy stays near the reference
    also where every label agrees. With summed log-ratios this is the paper's equation; some trainers pass per-token
    means instead.

    Args:
        chosen_logratio: ``[P]``, nats, or nats per token.
        rejected_logratio: ``[P]``, same unit.
        tau: Regularisation, > 0, in the inverse of the log-ratios' unit.

    Returns:
        ``[P]``; ``1 / (4 tau^2)`` where the two log-ratios are equal.
    """
    return (_margin(chosen_logratio, rejected_logratio) - 1 / (2 * tau)).square()


def hinge(
    chosen_logratio: Float[Tensor, " P"],
    rejected_logratio: Float[Tensor, " P"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    r"""Hinge loss on the scaled margin: SLiC-HF (arXiv:2305.10425) as normalised in RSO (arXiv:2309.06657 equation 9).

    .. math:: L = \max(0,\; 1 - \beta\Delta)

    Args:
        chosen_logratio: ``[P]``, nats.
        rejected_logratio: ``[P]``, nats.
        beta: Inverse of the margin at which a pair stops to pull, > 0.

    Returns:
        ``[P]``; 1 where the two log-ratios are equal.
    """
    return F.relu(1 - beta * _margin(chosen_logratio, rejected_logratio))


def sft(chosen_logps: Float[Tensor, " P"], chosen_lengths: Int[Tensor, " P"]) -> Float[Tensor, " P"]:
    r"""Supervised fine-tuning on the chosen completions: the mean negative log-likelihood of their tokens.

    .. math:: L = -\frac{1}{|y_w|} \log\pi(y_w | x)

    Args:
        chosen_logps: ``[P]``, summed nats of the policy.
        chosen_lengths: ``[P]``, tokens, > 0.

    Returns:
        ``[P]``, nats per token.
    """
    _require_one_shape(chosen_logps, chosen_lengths)
    return -_at_least_float32(chosen_logps) / chosen_lengths


def _margin(chosen_logratio: Tensor, rejected_logratio: Tensor) -> Tensor:
    _require_one_shape(chosen_logratio, rejected_logratio)
    return _at_least_float32(chosen_logratio) - _at_least_float32(rejected_logratio)


def _require_one_shape(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(f"the inputs differ in shape: {tuple(first.shape)} and {tuple(second.shape)}")


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
