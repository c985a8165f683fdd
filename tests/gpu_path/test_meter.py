"""The meter counts what is written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from tests.gpu_path.fake import fake_tensors, moved
from tests.gpu_path.meter import Meter, Sum


@pytest.fixture
def mode() -> Iterator[FakeTensorMode]:
    with fake_tensors() as entered:
        yield entered


def measured(run: Callable[[], Any]) -> Sum:
    with Meter() as meter:
        meter.begin("all")
        run()
    return meter.sums().get("all", Sum())


def test_an_operation_reads_and_writes_each_operand_once(mode: FakeTensorMode) -> None:
    a, row = torch.empty(8, 4), torch.empty(4)
    assert measured(lambda: a * row).elementwise == 4 * (32 + 4 + 32)
    assert measured(lambda: a.mul_(row)).elementwise == 4 * (32 + 4 + 32)
    assert measured(lambda: a.copy_(row)).elementwise == 4 * (4 + 32)
    assert measured(lambda: a.index_select(0, torch.empty(2, dtype=torch.long))).elementwise == 2 * 4 * 8


def test_a_view_is_no_kernel_and_moves_nothing(mode: FakeTensorMode) -> None:
    a = torch.empty(8, 4)
    assert measured(lambda: a.t()[1:].unsqueeze(0).detach()) == Sum()


def test_a_product_counts_apart(mode: FakeTensorMode) -> None:
    a, b = torch.empty(8, 4), torch.empty(4, 2)
    found = measured(lambda: a @ b)
    assert (found.launches, found.flops, found.products, found.elementwise) == (1, 2 * 8 * 4 * 2, 4 * (32 + 8 + 16), 0)


@pytest.mark.parametrize(
    "ask",
    [
        lambda a: a.sum().item(),
        lambda a: bool(a.any()),
        lambda a: a.tolist(),
        lambda a: torch.equal(a, a),
        lambda a: a[0] if a.max() > 0 else a,
    ],
    ids=["item", "bool", "tolist", "equal", "if"],
)
def test_a_value_for_the_host_is_one_wait(mode: FakeTensorMode, ask: Callable[[Tensor], Any]) -> None:
    assert len(measured(lambda: ask(torch.empty(4))).waits) == 1


def test_an_operation_over_a_list_is_as_many_launches_as_its_pieces_need(mode: FakeTensorMode) -> None:
    many = [torch.empty(2) for _ in range(221)]
    assert measured(lambda: torch._foreach_mul_(many, 2.0)).launches == 3  # 110 tensors a launch
    assert measured(lambda: torch._foreach_mul_([torch.empty(321 * 65536)], 2.0)).launches == 2  # 320 pieces


@pytest.mark.parametrize("divides", [False, True])
def test_a_fused_optimizer_writes_gradients_only_where_it_divides_them(mode: FakeTensorMode, divides: bool) -> None:
    weight, grad, *moments = ([torch.empty(1024)] for _ in range(4))
    scale, steps = torch.ones(()) if divides else None, [torch.ones(())]
    numbers = {"lr": 0.1, "beta1": 0.9, "beta2": 0.9, "weight_decay": 0.0, "eps": 1e-8}

    def update() -> None:
        given = {**numbers, "amsgrad": False, "maximize": False, "grad_scale": scale, "found_inf": None}
        torch._fused_adamw_(weight, grad, *moments, [], steps, **given)  # type: ignore[arg-type]

    found = measured(update).elementwise
    assert found // 1024 == (32 if divides else 28)
    assert found % 1024 <= 16  # its counts


def test_memory_is_live_until_it_is_let_go(mode: FakeTensorMode) -> None:
    with Meter() as meter:
        meter.begin("all")
        kept = torch.empty(1024)
        view = kept[:10]
        torch.empty(2048)
        assert (meter.live, meter.peak["all"]) == (4096, 4096 + 8192)
        del kept
        assert meter.live == 4096
        del view
        assert meter.live == 0


def test_a_stand_in_is_one_kernel(mode: FakeTensorMode) -> None:
    with Meter() as meter:
        meter.begin("all")
        a = torch.empty(8)
        with meter.one_kernel("softplus", reads=[a]) as made:
            made.append((a.exp() + 1).log())
    assert [(each.name, each.launches, each.bytes) for each in meter.operations] == [("softplus", 1, 2 * 32)]


def test_copies_to_the_device_are_counted_and_those_that_wait(mode: FakeTensorMode) -> None:
    with _disable_current_modes():
        batch = [torch.zeros(4), torch.zeros(2)]
    there, copies = moved(
        batch, lambda given, device: [given[0].to(device, non_blocking=True), given[1].to(device)], mode
    )
    assert (copies.count, copies.bytes, copies.blocking) == (2, 24, 1)
    assert [each.shape for each in there] == [(4,), (2,)]
