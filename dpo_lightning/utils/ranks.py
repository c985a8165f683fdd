"""Communication between the processes of a run; each function is right in a single process, too."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar, cast

import lightning.pytorch as pl
import torch
from torch import Tensor

T = TypeVar("T")


class DataRanks(NamedTuple):
    """The data-parallel ranks of a run: fewer than its processes under tensor parallelism.

    Attributes:
        world_size: How many there are.
        rank: The one of this process.
    """

    world_size: int
    rank: int


def data_ranks(trainer: pl.Trainer | None) -> DataRanks:
    """Return how many ranks read different data, and which of them this process is; one without a Trainer."""
    ranks = None if trainer is None else cast(Any, trainer).distributed_sampler_kwargs
    return DataRanks(ranks["num_replicas"], ranks["rank"]) if ranks else DataRanks(1, 0)


def this_rank() -> int:
    """Return the number of this process among those of the run."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def number_of_ranks() -> int:
    """Return how many processes the run has."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def max_over_ranks(value: Tensor) -> Tensor:
    """Take the elementwise maximum over all ranks, in place; every rank must call."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(value, op=torch.distributed.ReduceOp.MAX)
    return value


def sum_over_ranks(value: Tensor) -> Tensor:
    """Take the elementwise sum over all ranks, in place; every rank must call."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(value)
    return value


def from_rank_zero(value: T) -> T:
    """Return rank 0's value on every rank; every rank must call. It travels pickled."""
    values = [value]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(values)
    return values[0]


def to_rank_zero(value: T) -> list[T]:
    """Return the values of all ranks on rank 0, in their order, and none elsewhere; every rank must call.

    They travel pickled.
    """
    if not torch.distributed.is_initialized():
        return [value]
    values: list[T] | None = [value] * number_of_ranks() if this_rank() == 0 else None
    torch.distributed.gather_object(value, values)
    return values or []


def host_group() -> Any:
    """Make a group of all ranks that talk without their devices; None for the default one. Every rank must call."""
    if not torch.distributed.is_initialized() or torch.distributed.get_backend() == "gloo":
        return None
    return torch.distributed.new_group(backend="gloo")


def from_all_ranks(value: T, group: Any = None) -> list[T]:
    """Return the values of all ranks, in their order; every rank must call. They travel pickled.

    Args:
        value: That of this rank.
        group: See `host_group`; None for the default one.
    """
    if not torch.distributed.is_initialized():
        return [value]
    values: list[T] = [value] * number_of_ranks()
    torch.distributed.all_gather_object(values, value, group=group)
    return values
