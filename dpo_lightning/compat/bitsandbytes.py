"""bitsandbytes' layers on a CPU."""

from __future__ import annotations

from torch import nn

_REPACKS = "support_avx512bf16_for_cpu"


def keep_quantized_backward(model: nn.Module) -> None:
    """Keep 4-bit layers in the form that has a backward.

    Writes `Linear4bit.support_avx512bf16_for_cpu`, which has no switch: on some CPUs the first eval forward of such a
    layer repacks its weight for good. Scoring a reference is such a forward: the gradients of all layers below would be
    wrong, without a word.
    """
    for module in model.modules():
        if hasattr(module, _REPACKS):
            vars(module)[_REPACKS] = False
