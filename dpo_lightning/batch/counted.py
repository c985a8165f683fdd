"""The tokens of a batch, each counted once, whatever the layout."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from dpo_lightning.batch.types import PreferenceBatch


def counted_tokens(batch: PreferenceBatch) -> Bool[Tensor, " T"] | None:
    """Return which of the `T` positions of the flattened `input_ids` hold a token that stands nowhere else before.

    Padded rows repeat a prompt for each of its completions: it counts in the first of them, and padding never.

    Returns:
        None where all positions do, as in a packed row. Nothing waits for the device.
    """
    if batch.row_ends is None:
        return None
    rows, width = batch.input_ids.shape
    row = batch.predict_index // width
    example = batch.example_of_sequence[batch.sequence_id]
    first_row = row.new_full((batch.examples,), rows).scatter_reduce(0, example, row, "amin")
    numbers = torch.arange(rows, device=row.device)
    is_first = first_row[row.new_zeros(rows).scatter(0, row, example)] == numbers
    position = torch.arange(width, device=row.device)
    is_prompt, is_token = (position < ends.unsqueeze(-1) for ends in batch.row_ends)
    return (is_token & (is_first.unsqueeze(-1) | ~is_prompt)).flatten()
