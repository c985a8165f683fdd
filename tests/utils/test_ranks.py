"""Communication of a single process, with a group and without; several processes are in `tests/two_ranks.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import distributed

from dpo_lightning.utils.ranks import (
    data_ranks,
    from_all_ranks,
    from_rank_zero,
    host_group,
    max_over_ranks,
    sum_over_ranks,
    this_rank,
    to_rank_zero,
)
from tests.helpers.runs import trainer


@pytest.fixture(params=[False, True], ids=["no group", "group of one"])
def _group(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    if request.param:
        distributed.destroy_process_group()


@pytest.mark.usefixtures("_group")
def test_one_process_hears_itself() -> None:
    values = torch.tensor([1.0, -2.0])

    assert this_rank() == 0
    assert from_rank_zero({"a": 1}) == {"a": 1}
    assert from_all_ranks("a") == from_all_ranks("a", host_group()) == ["a"]
    assert to_rank_zero("a") == ["a"]
    assert host_group() is None, "gloo is the host's, and without a group there is none"
    for reduce in (max_over_ranks, sum_over_ranks):
        assert reduce(values) is values, "in place"
        assert values.tolist() == [1.0, -2.0]


def test_data_ranks_are_those_of_the_sampler() -> None:
    class Shared:
        """Of eight processes, two hold one copy of the model."""

        distributed_sampler_kwargs: Any = {"num_replicas": 4, "rank": 3}  # noqa: RUF012

    assert data_ranks(Shared()) == (4, 3)  # type: ignore[arg-type]
    assert data_ranks(trainer()) == data_ranks(None) == (1, 0)
