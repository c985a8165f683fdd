"""Values of each example of a batch, as an evaluation step returns them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from dpo_lightning.batch import PreferenceBatch


def example_values(batch: PreferenceBatch, watched: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what is watched of each example of a batch, with its row and its scored tokens; waits for nothing.

    Args:
        batch: The batch.
        watched: What `Comparison.watched` returned for it, detached.

    Returns:
        Tensors on the device, all of one length. Of pairs `[P]`: `pair_id`, `chosen_tokens`, `rejected_tokens`, and the
        values of `pair_metrics`. Of labelled completions `[C]`: `pair_id`, `tokens`, and the values of
        `unpaired_metrics`. Of lists `[P]`: `pair_id`, and the values of `list_metrics`, NaN where a list has none.
    """
    if batch.labels is not None:
        count = sum(batch.completions)
        rows = batch.row_ids[batch.example_of_sequence[:count]]
        found = {"pair_id": rows, "tokens": batch.lengths[:count]}
    else:
        count = batch.examples
        found = {"pair_id": batch.row_ids}
        if {*batch.completions} == {2}:
            chosen, rejected = batch.lengths[: 2 * count].chunk(2)
            found |= {"chosen_tokens": chosen, "rejected_tokens": rejected}
    for name, value in watched.items():
        mean = value[0] / value[1] if value.shape == (2, count) else value  # a list gives sum and count
        if mean.shape == (count,):
            found[name] = mean
    return found
