"""Check that a model's output stands at the positions of its input."""

from __future__ import annotations

from torch import Tensor, nn

from dpo_lightning.errors import InputError


def check_shape(values: Tensor, input_ids: Tensor, model: nn.Module) -> None:
    """Refuse an output with other positions than the input: virtual tokens in front would shift each score.

    Args:
        values: Hidden states or logits, `[R, L, D]`.
        input_ids: `[R, L]`.
        model: The model, for the message.

    Raises:
        InputError: for another number of rows or positions.
    """
    if values.shape[:2] != input_ids.shape:
        raise InputError(
            f"{type(model).__name__} gives outputs at {list(values.shape[:2])} positions for {list(input_ids.shape)} "
            "tokens (prompt tuning and p-tuning put virtual tokens in front), so its scores would be those of other "
            "tokens: use LoRA, prefix tuning, or a model without them"
        )
