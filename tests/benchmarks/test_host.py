"""What the benchmark of the host's cost measures, and makes of it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.host import IN_A_STEP, PROFILES, in_a_step, parse_arguments, table
from benchmarks.host_loop import ProcessProfiler, by_part
from benchmarks.host_parts import measured_parts, process_ms
from benchmarks.host_stubs import Shape, rows_of, small_llama, unscored
from dpo_lightning.batch import collate_tree
from dpo_lightning.logprobs import TokenScorer


@pytest.mark.filterwarnings("ignore")
def test_all_parts_of_a_small_step_are_measured() -> None:
    parts = measured_parts(Shape((5, 2, 3), pairs=2, layers=1), steps=1)
    assert {*IN_A_STEP} < {*parts}
    assert all(parts[name] > 0 for name in ("loader", "collate", "attention", "adapter off", "frozen copy", "guard"))
    found = {"pairs": 2, "layers": 1, "goal_ms": 5, "ms": {"hh": {**parts, "step": in_a_step(parts)}}}
    assert table(found).row_count == len(parts) + 1


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
