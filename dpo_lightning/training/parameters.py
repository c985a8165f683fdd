"""The optimizer over the trained parameters, and their weight-decay groups."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer, SparseAdam

from dpo_lightning.compat.torch import is_of_groups
from dpo_lightning.errors import InputError
from dpo_lightning.training.fused import with_kernel
from dpo_lightning.utils.gradients import by_mesh
from dpo_lightning.utils.text import one_line


def make_optimizer(maker: Callable[[Any], Optimizer], module: nn.Module) -> Optimizer:
    """Make the optimizer over the `decay_groups`, or over one group where it takes no more, as `LBFGS` does.

    Its kernel is that of `with_kernel`.

    Raises:
        InputError: when nothing is trainable, and for an optimizer of torch's that does not take these parameters.
    """
    groups = decay_groups(module)
    try:
        made = maker(groups)
    except ValueError as error:
        if not is_of_groups(error):
            raise _refused(error) from None
        made = maker([parameter for group in groups for parameter in group["params"]])
    if isinstance(made, SparseAdam):
        raise InputError(
            f"model.optimizer: {type(made).__name__} takes sparse gradients, and those of a language model are dense: "
            "take another, such as AdamW"
        )
    return with_kernel(made)


def _refused(error: ValueError) -> ValueError:
    """Return the error to raise for one in a maker: of torch's own refusal one line, of other code the error itself."""
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    if not str(last.f_globals.get("__name__")).startswith("torch.optim"):
        return error
    return InputError(
        f"model.optimizer: it does not fit the trained parameters of the policy ({one_line(error)}): take another, "
        "such as AdamW"
    )


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups: matrices with the optimizer's weight decay, the rest without any.

    Norm weights and biases have one dimension, except that the biases of stacked experts have two.

    Raises:
        InputError: when nothing is trainable.
    """
    trainable = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise InputError("the policy has no trainable parameters: set `lora` for a quantized or frozen model")
    decayed = {name for name, parameter in trainable.items() if parameter.ndim >= 2 and not name.endswith("bias")}
    groups: list[dict[str, Any]] = []
    for settings, names in (({}, decayed), ({"weight_decay": 0.0}, trainable.keys() - decayed)):
        parameters = [parameter for name, parameter in trainable.items() if name in names]
        groups += [{"params": alike, **settings} for alike in by_mesh(parameters)]
    return groups
