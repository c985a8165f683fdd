"""What the benchmark of the host's cost measures, and makes of it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.host import IN_A_STEP, LAUNCHES, PROFILES, SUMS, parse_arguments, table, with_sums
from benchmarks.host_launches import Launches, launches_ms
from benchmarks.host_loop import ProcessProfiler, by_part
from benchmarks.host_parts import measured_parts, process_ms
from benchmarks.host_stubs import Shape, rows_of, small_llama, unscored
from dpo_lightning.batch import collate_tree
from dpo_lightning.logprobs import TokenScorer


@pytest.mark.filterwarnings("ignore")
def test_all_parts_of_a_small_step_are_measured() -> None:
    parts = measured_parts(Shape((5, 2, 3), pairs=2, layers=1), steps=1)
    assert {*IN_A_STEP, *LAUNCHES} < {*parts}
    assert parts["launched by the loop"] > 30
    assert all(
        parts[name] > 0 for name in ("loader", "collate", "attention", "adapter off", "frozen copy", "guard", *LAUNCHES)
    )
    sums = with_sums(parts)
    assert sums["launches"] + sums["beside launches"] == pytest.approx(sum(parts[name] for name in IN_A_STEP))
    found = {"pairs": 2, "layers": 1, "goal_ms": 5, "ms": {"hh": sums}}
    assert table(found).row_count == len(parts) + len(SUMS)


def test_operations_are_noted_with_their_part_and_views_are_none() -> None:
    part = iter(["loss", "norm"])
    values = torch.arange(4.0)
    with Launches(lambda: next(part)) as launches:
        values.view(2, 2).add(1.0)
        values.mul_(2.0)
    assert [(each.part, str(each.operator)) for each in launches.operations] == [
        ("loss", "aten.add.Tensor"),
        ("norm", "aten.mul_.Tensor"),
    ]
    assert launches_ms(launches.operations, 2) > 0
    assert values.tolist() == [0.0, 16.0, 32.0, 48.0]  # made once in the step, and three times by itself


def test_rows_have_the_lengths_of_their_profile() -> None:
    examples = rows_of(Shape(PROFILES["hh"], pairs=3, layers=1)).__getitems__([2, 0])
    assert [each.row for each in examples] == [2, 0]
    assert {(len(each.prompt_ids), *map(len, each.completion_ids)) for each in examples} == {PROFILES["hh"]}


def test_stubs_give_each_weight_a_gradient() -> None:
    model = small_llama(1)
    batch = collate_tree(rows_of(Shape((5, 2, 3), pairs=2, layers=1)).__getitems__([0, 1]))
    with unscored():
        logps = TokenScorer(model)(batch).logps
    logps.sum().backward()
    assert logps.tolist() == [0.0] * 10
    assert all(torch.equal(each.grad, torch.zeros_like(each)) for each in model.parameters() if each.grad is not None)
    assert not [name for name, each in model.named_parameters() if each.grad is None]


def test_an_action_has_the_time_that_the_actions_within_it_have_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 2.0, 5.0, 5.5])
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    profiler = ProcessProfiler()
    for begin in ("outer", "inner"):
        profiler.start(begin)
    for end in ("inner", "outer"):
        profiler.stop(end)
    profiler.end_step()
    assert profiler.steps == [{"outer": 1.5, "inner": 3.0}]


def test_actions_are_of_parts() -> None:
    steps = [
        {"[Callback]UpdateGuard.on_before_backward": 0.001, "[Callback]Measures.on_train_batch_end": took, "other": 9.0}
        for took in (0.002, 0.003, 0.009)
    ]
    found = by_part(steps)
    assert (found["guard"], found["callbacks"], found["loader"]) == pytest.approx((1.0, 3.0, 0.0))


def test_the_first_call_is_not_counted() -> None:
    calls: list[int] = []
    assert process_ms(lambda: calls.append(0), 3) >= 0
    assert len(calls) == 4
    assert parse_arguments([]).pairs == 64
