"""A probe that finds out what a model does to its head's output by feeding the head known values, not by its name."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Raw logits of about 0.03 show the scale alone, those of about 1e3 saturate a soft-cap; the rest check the fit between.
_MAGNITUDES = (0.03, 1.0, 10.0, 100.0, 1e3)
# Half of what float16 holds: autocast may turn the head's input into it.
_LARGEST_INPUT = 2.0**15


@dataclass(frozen=True)
class LogitTransform:
    """`logits = cap(scale x head(hidden))` with `cap(x) = softcap x tanh(x / softcap)`.

    Granite divides and Cohere multiplies its logits, Gemma 2 caps them; most models leave them alone.
    """

    scale: float = 1.0
    softcap: float | None = None

    def __call__(self, raw: Float[Tensor, "*N V"]) -> Float[Tensor, "*N V"]:
        """Apply the transform to the head's output, any shape, in the output's dtype."""
        scaled = raw if self.scale == 1.0 else raw * self.scale
        return scaled if self.softcap is None else self.softcap * torch.tanh(scaled / self.softcap)

    def slope(self, logits: Float[Tensor, "*N V"]) -> Float[Tensor, "*N V"] | None:
        """Return the cap's derivative where its value is `logits`, `1 - (logits / softcap)^2`; None without a cap."""
        return None if self.softcap is None else 1 - (logits / self.softcap).square_()


@dataclass(frozen=True)
class HeadProbe:
    """The result of a probe: the transform, and the head's output width `V`."""

    transform: LogitTransform
    vocab_size: int


def probe_head(model: nn.Module, head: nn.Module, input_ids: Tensor) -> HeadProbe | None:
    """Replace the input of `head` inside one forward of `model`, and compare what goes out with `logits`.

    Args:
        model: A causal language model whose output has `logits`.
        head: Its output embedding.
        input_ids: `[1, n]` with `n >= 5`, any tokens.

    Returns:
        None when the model does not call its head once as a module, with the hidden states as its first positional
        argument, or does more than a scale and a soft-cap to the output.
    """
    raw: list[Tensor] = []
    replaced: list[bool] = []

    def replace_input(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        replaced.append(bool(args))
        return (_known_hidden(head, args[0]), *args[1:]) if args else args

    def keep_output(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        raw.append(output)

    handles = [head.register_forward_pre_hook(replace_input), head.register_forward_hook(keep_output)]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=_cuda_devices(input_ids)):
            logits = model(input_ids=input_ids).logits
    finally:
        for handle in handles:
            handle.remove()
    if replaced != [True] or raw[0].shape != logits.shape:
        return None
    transform = _fit(raw[0], logits)
    return None if transform is None else HeadProbe(transform, logits.shape[-1])


def _known_hidden(head: nn.Module, hidden: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(len(_MAGNITUDES), hidden.shape[-1], generator=generator).to(hidden)
    spread = head.forward(direction).float().std(dim=-1, keepdim=True)
    magnitudes = torch.tensor(_MAGNITUDES, device=hidden.device).unsqueeze(-1)
    factors = torch.minimum(magnitudes / spread, _LARGEST_INPUT / direction.abs().amax(dim=-1, keepdim=True))
    return (direction * factors).to(hidden.dtype).unsqueeze(0)


def _fit(raw: Tensor, logits: Tensor) -> LogitTransform | None:
    tolerance = 4 * max(torch.finfo(raw.dtype).eps, torch.finfo(logits.dtype).eps, 1e-6)
    raw, logits = raw.double(), logits.double()
    largest = float(f"{logits.abs().max().item():.5g}")
    for softcap in (None, largest):
        uncapped = logits[0, 0] if softcap is None else softcap * torch.atanh(logits[0, 0] / softcap)
        candidate = LogitTransform(_scale(raw[0, 0], uncapped, tolerance / 128), softcap)
        if torch.allclose(candidate(raw), logits, rtol=tolerance, atol=tolerance * 0.03):
            return candidate
    return None


def _scale(raw: Tensor, logits: Tensor, tolerance: float) -> float:
    """Return the mean ratio as the roundest factor or divisor within its error: models say 0.0625 or 6, not 0.16667."""
    ratios = (logits / raw)[raw.abs() > raw.abs().median()]
    if not len(ratios):  # NaN, or all alike
        return math.nan
    # Rounding gives each ratio an error of mean zero, unless it hides what a soft-cap does to small values.
    estimate = ratios.mean().item()
    error = max(4 * ratios.std().item() / math.sqrt(len(ratios)), max(tolerance, 1e-6) * abs(estimate))
    if not (math.isfinite(estimate) and estimate):
        return estimate
    for digits in range(1, 6):
        for candidate in (float(f"{estimate:.{digits}g}"), 1 / float(f"{1 / estimate:.{digits}g}")):
            if abs(candidate - estimate) < error:
                return candidate
    return estimate


def _cuda_devices(tensor: Tensor) -> list[torch.device]:
    return [tensor.device] if tensor.is_cuda else []
