"""Lightning's pruning, where it has no public door."""

from __future__ import annotations

from lightning.pytorch.callbacks import ModelPruning


def keep_first_values(pruning: ModelPruning) -> None:
    """Part the first values that a `ModelPruning` sets weights back to from the weights themselves.

    It gives a weight the memory of its first value where both are on one device (`ModelPruning._copy_param`), and the
    training then changes both: the next pruning would set back nothing, and a run that goes on would.
    """
    for layer in (pruning._original_layers or {}).values():
        for first in layer["data"].parameters():
            first.data = first.data.clone()
