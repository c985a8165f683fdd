"""Statistics of the distribution that a token is scored under, beside its log-prob.

A new statistic is an entry of `Statistic`: its formula over all logits, and its sums over their tiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.losses import Reads


class TileSums(ABC):
    """A statistic of `n` distributions whose logits come tile by tile."""

    @abstractmethod
    def add(self, exponentials: Float[Tensor, "n T"], decay: Float[Tensor, "n 1"]) -> None:
        """Add a tile.

        Args:
            exponentials: `exp(z - shift)` of the tile's logits, with a shift that may grow from tile to tile.
            decay: Factor that brings a sum of earlier exponentials to the shift of this tile.
        """

    @abstractmethod
    def value(self, total: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
        """Return the statistic after the last tile, given the sum of all exponentials at the last shift."""


class CollisionSums(TileSums):
    """`log sum_v p_v^2` from the sum of squared exponentials; costs a square and a sum for each logit.

    Args:
        like: Any `[n, 1]` in the dtype of the sums, on their device.
    """

    def __init__(self, like: Float[Tensor, "n 1"]) -> None:
        self._squares = torch.zeros_like(like)

    def add(self, exponentials: Float[Tensor, "n T"], decay: Float[Tensor, "n 1"]) -> None:
        """Add the squares of a tile."""
        squares = torch.linalg.vector_norm(exponentials, dim=1, keepdim=True).square_()
        self._squares.mul_(decay.square()).add_(squares)

    def value(self, total: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
        """Return `log (sum e^2 / (sum e)^2)`."""
        return (self._squares.log() - 2 * total.log()).squeeze(1)


def collisions_from_logits(logits: Float[Tensor, "N V"]) -> Float[Tensor, " N"]:
    """Return `log sum_v p_v^2` under `softmax(logits[n])`, in float32 at least, without a graph."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    return torch.linalg.vector_norm(logits.detach().softmax(-1, dtype=wide), dim=-1).log_().mul_(2)


class Formulas(NamedTuple):
    """A statistic in two forms, which agree up to rounding; both are without a graph.

    Attributes:
        of_logits: All logits `[n, V]` -> `[n]`, in float32 at least.
        tile_sums: Any `[n, 1]` in the dtype of the sums -> sums over no tile yet.
    """

    of_logits: Callable[[Tensor], Tensor]
    tile_sums: Callable[[Tensor], TileSums]


class Statistic(Enum):
    """Statistics of the distribution that a token is scored under.

    Attributes:
        LOG_COLLISIONS: `log sum_v p_v^2` in nats: the log of how likely two draws of the token are the same.
    """

    LOG_COLLISIONS = Formulas(collisions_from_logits, CollisionSums)


class TokenLogps(NamedTuple):
    """Log-probs of the scored tokens, with the statistics that were asked for.

    Attributes:
        logps: Nats, float32 (float64 for a float64 model), with a graph where gradients are on.
        statistics: Each statistic that was asked for, `[N]` in the dtype of `logps`, without a graph.
    """

    logps: Float[Tensor, " N"]
    statistics: Mapping[Statistic, Float[Tensor, " N"]]


_READ = {Reads.COLLISIONS: Statistic.LOG_COLLISIONS}


def statistics_read(reads: Reads) -> Sequence[Statistic]:
    """Return the statistics that a loss reads."""
    return [statistic for flag, statistic in _READ.items() if flag in reads]
