"""The curves that rules read."""

from __future__ import annotations

import json
import math

from dpo_lightning.report.health import Curves, Watched


def test_what_no_rule_reads_and_what_is_no_number_is_left_out() -> None:
    history = Curves()
    history.add(1, {"train/loss": 0.5, "train/lr": 1e-6, "val/loss": math.nan, "train/grad_norm": math.inf})
    assert set(history.curves) == {"train/loss"}


def test_a_step_has_one_value() -> None:
    history = Curves()
    for value in (1.0, 2.0):
        history.add(7, {"val/loss": value})
    assert [point[:2] for point in history.curve("val/loss")] == [(7, 2.0)]


def test_medians_of_both_ends() -> None:
    history = Curves()
    for step, value in enumerate([5.0, 1.0, 3.0, 9.0, 2.0, 4.0]):
        history.add(step, {"train/loss": value, "val/loss": value})
    assert history.first("train/loss") == 5.0
    assert history.first("train/loss", 3) == 3.0
    assert history.last("train/loss", 3) == 4.0
    assert history.last("train/loss", 7) is None
    assert history.last("train/grad_norm") is None
    assert history.lasts(3) == {"train/loss": 4.0, "val/loss": 4.0}


def test_a_validation_is_a_start_only_before_the_first_step() -> None:
    history = Curves()
    history.add(5, {"train/loss": 0.6, "val/loss": 0.5})
    assert history.start() == {"train/loss": 0.6}
    before = Curves()
    before.add(0, {"val/loss": 0.7})
    assert before.start() == {"val/loss": 0.7}


def test_a_long_run_keeps_both_ends_and_a_bounded_middle() -> None:
    history = Curves()
    for step in range(5000):
        history.add(step, {"train/loss": float(step)})
    steps = [point.step for point in history.curve("train/loss")]
    assert len(steps) <= 240
    assert steps[:40] == [*range(40)]
    assert steps[-40:] == [*range(4960, 5000)]
    assert steps == sorted(set(steps))


def test_a_checkpoint_holds_it_in_plain_types() -> None:
    history = Curves()
    history.add(3, {"train/loss": 0.25, "val/rewards/accuracies": 1.0}, seen=48)
    assert Curves.of(json.loads(json.dumps(history.state()))) == history


def test_the_share_of_a_run_without_an_end_is_a_number_of_steps() -> None:
    assert Watched(Curves(), 50, 100).is_past(0.5, 100)
    assert not Watched(Curves(), 49, 100).is_past(0.5, 10)
    assert Watched(Curves(), 100).is_past(0.5, 100)
    assert not Watched(Curves(), 99).is_past(0.5, 100)
