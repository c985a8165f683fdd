"""A step on a GPU takes no more launches, bytes, memory and waits than it did when its bounds were written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.gpu_path.bounds import BOUNDS, CASES, COPIES, FEWER, MEMORY, MORE, WAITS, extrapolated, figures, small, whole
from tests.gpu_path.trace import trace


@pytest.mark.parametrize("name", CASES)
def test_a_part_of_a_step_takes_no_more_than_its_bounds(name: str) -> None:
    """Fails for one more pass over the logits, one more operation in a layer, and a product that is made twice."""
    parts, _ = whole(name)
    for part, bound in BOUNDS[name].items():
        taken = parts[part]
        above = [
            f"{figure}: {getattr(taken, figure):.6g}"
            for figure in bound._fields
            if getattr(taken, figure) > getattr(bound, figure)
        ]
        assert not above, f"{part} takes more than {bound}"


@pytest.mark.parametrize("name", CASES)
def test_memory_is_within_its_bounds(name: str) -> None:
    """Fails for one more activation that a layer keeps for its backward, or a float32 copy of the logits."""
    _, taken = whole(name)
    assert taken.kept <= MEMORY[name].kept
    assert taken.peak <= MEMORY[name].peak


@pytest.mark.parametrize("name", CASES)
def test_the_host_waits_at_no_other_place(name: str) -> None:
    """Fails for each `item`, `tolist`, `equal`, `nonzero` or boolean mask from batch to optimizer."""
    for layers in (FEWER, MORE):
        waits = small(CASES[name], layers).total.waits
        assert sorted(waits) == sorted(set(waits) & set(WAITS))


@pytest.mark.parametrize("name", CASES)
def test_a_batch_comes_to_the_device_without_a_wait(name: str) -> None:
    """Fails for a tensor beside the two buffers of a batch, and for a copy that the host waits for."""
    copies = small(CASES[name], FEWER).copies
    assert 0 < copies.count <= COPIES
    assert copies.blocking == 0


def test_a_step_is_linear_in_its_layers() -> None:
    """So the bounds are those of whole models; 4 layers are traced whole here, and were as extrapolated."""
    case = CASES["8b lora true uf 8"]
    traced, expected = figures(trace(replace(case, layers=4))), extrapolated(case, 4)
    assert traced == pytest.approx(expected, rel=0.01, abs=2)
