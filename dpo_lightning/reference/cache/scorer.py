"""A model that scores pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor, nn

from dpo_lightning.batch import Collate, PreferenceBatch, TokenizedExample, collate_padded, collate_tree
from dpo_lightning.errors import RunError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.reference.cache.table import unpack
from dpo_lightning.utils.tensors import device_of, float_dtype_of
from dpo_lightning.utils.torch_modes import compute_dtype

# Absolute and relative, of a token's log-prob: another device or layout sums in another order.
_TOLERANCE = {torch.float32: 2e-3, torch.float64: 2e-3}
_TOLERANCE_OTHERWISE = 0.1


class Scorer:
    """A model that scores, and the layout that fits it.

    Args:
        model: The model that runs, asked for its device and whether the tree layout fits it.
        token_logps: Log-probs of a batch's scored tokens.
        context: See `ScoringRun`.
    """

    def __init__(
        self,
        model: nn.Module,
        token_logps: Callable[[PreferenceBatch], Float[Tensor, " N"]],
        context: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._model = model
        self._token_logps = token_logps
        self._context = context
        with context():
            self.is_tree = TokenScorer(model).tree_problem() is None
        self._collate: Collate = collate_tree if self.is_tree else collate_padded

    def __call__(self, pairs: Sequence[TokenizedExample]) -> list[np.ndarray]:
        """Values of each example: the tokens of its branches, one branch after the other, float32 nats.

        Raises:
            RunError: for a value that is no number, naming the pair.
        """
        device = self._device
        batch: PreferenceBatch = move_data_to_device(self._collate(pairs), device)
        with torch.no_grad(), self._context():
            rows = unpack(batch, self._token_logps(batch))
        for pair, row in zip(pairs, rows, strict=True):
            if not np.isfinite(row).all():
                raise RunError(
                    f"reference Precomputed: a log-prob of pair {pair.place} is no finite number: raise the precision"
                )
        return rows

    @property
    def tolerance(self) -> float:
        """Largest difference from cached values that counts as none, absolute and relative."""
        with self._context():
            return _TOLERANCE.get(
                compute_dtype(torch.empty(0, dtype=float_dtype_of(self._model), device=self._device)),
                _TOLERANCE_OTHERWISE,
            )

    @property
    def _device(self) -> torch.device:
        return device_of(self._model)


def difference(scorer: Scorer, pairs: Sequence[TokenizedExample], cached: Sequence[np.ndarray]) -> str | None:
    """Score a few cached rows anew; what differs by more than the precision explains, or None."""
    tolerance = scorer.tolerance
    for pair, before, now in zip(pairs, cached, scorer(pairs), strict=True):
        if len(before) != len(now):
            return f"pair {pair.place} has {len(before)} values for its {len(now)} tokens"
        error = np.abs(before - now) - tolerance * (1 + np.abs(now))
        if not error.max() <= 0:  # of a value that is no number too
            token = int(np.argmin(error <= 0))
            return f"token {token} of pair {pair.place} is {before[token]:.4f}, scored anew {now[token]:.4f}"
    return None
