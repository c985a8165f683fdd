"""Updates that the device leaves out, against those that are not made; numbers that come late."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from dpo_lightning.utils.late import LateNumbers, is_read_late, skip_no_more, skip_where, skips_on_device

BAD = {0: math.nan, 2: math.inf, 3: 1e30, 6: 1.0}
"""The gradient's factor in each step that is left out: a finite one, too, as where a loss is bad."""


def weights(dtype: torch.dtype) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in ((5, 3), (17,), (1,))]


def everything(parameters: list[nn.Parameter], optimizer: Any) -> dict[str, Tensor]:
    found = {f"weight {place}": each.detach() for place, each in enumerate(parameters)}
    for place, each in enumerate(parameters):
        found |= {f"{name} {place}": value for name, value in optimizer.state[each].items()}
    return copy.deepcopy(found)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("kind", "amsgrad"), [(AdamW, False), (Adam, True)])
def test_a_step_that_the_device_leaves_out_is_as_one_that_is_not_made(kind, amsgrad, dtype):
    runs = []
    for by_device in (False, True):
        parameters, generator = weights(dtype), torch.Generator().manual_seed(2)
        optimizer = kind(parameters, lr=0.1, weight_decay=0.1, amsgrad=amsgrad, fused=True)
        trail = []
        for step in range(8):
            for each in parameters:
                each.grad = torch.randn(each.shape, generator=generator).to(dtype) * BAD.get(step, 1.0)
            if by_device:
                skip_where(optimizer, torch.tensor(step in BAD))
                optimizer.step()
                skip_no_more(optimizer)
            elif step not in BAD:
                optimizer.step()
            trail.append(everything(parameters, optimizer))
        assert not hasattr(optimizer, "found_inf")
        runs.append(trail)
    for step, (expected, found) in enumerate(zip(*runs, strict=True)):
        for name, value in expected.items():
            assert torch.equal(value, found[name]), (step, name)
    first = runs[1][0]  # a first step that is left out: what it makes is what a first step that is made finds
    assert not any(value.any() for name, value in first.items() if not name.startswith("weight"))
    assert not torch.equal(runs[1][0]["weight 0"], runs[1][-1]["weight 0"])


def test_which_optimizers_can_leave_a_step_out():
    class Own(AdamW):
        pass

    weight = nn.Parameter(torch.zeros(2))
    assert skips_on_device(AdamW([weight], fused=True))
    assert skips_on_device(Adam([weight], fused=True))
    # What a class of one's own does with the flag is not known, and SGD's momentum begins with what memory holds.
    for other in (AdamW([weight]), AdamW([weight], foreach=True), Own([weight], fused=True), SGD([weight], fused=True)):
        assert not skips_on_device(other)
    mixed = AdamW([{"params": [weight]}, {"params": [nn.Parameter(torch.zeros(2))], "fused": False}], fused=True)
    assert not skips_on_device(mixed)


def test_numbers_come_as_they_were():
    values = torch.tensor([1.5, math.inf, 0.1])
    assert LateNumbers(values).read() == values.tolist()
    assert (is_read_late(torch.device("cpu")), is_read_late(torch.device("cuda"))) == (False, True)
