"""Results of a sweep: values by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from dpo_lightning.cli.sweeps.axes import Axis
from dpo_lightning.cli.sweeps.results import (
    Group,
    Row,
    as_json,
    check_metric,
    groups_of,
    is_lower_better,
    metric_of,
    ordered,
    rows_of,
    same_seeds,
    write_csv,
)
from dpo_lightning.errors import InputError
from dpo_lightning.report.record import RunRecord, add_row, write_document
from tests.helpers.recorded import write_run


def row(beta: str, seed: str, value: float | None = None, status: str = "finished", key: str = "data.seed") -> Row:
    """The result of a run."""
    metrics = {} if value is None else {"val/loss": value, "train/seconds": 1.0}
    return Row(f"beta={beta},seed={seed}", {"beta": beta, key: seed}, status, metrics, None)


ROWS = [row("0.1", "0", 1.0), row("0.1", "1", 2.0), row("0.1", "2", 6.0), row("0.5", "0", 2.0), row("0.5", "1")]


def test_a_group_is_the_mean_over_seeds_with_its_standard_error() -> None:
    first, second = groups_of(ROWS, "val/loss")
    assert (first.values, first.mean, first.known) == ({"beta": "0.1"}, 3.0, 3)
    assert first.error == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))
    assert (second.mean, second.error, second.known, len(second.names)) == (2.0, None, 1, 2)
    assert as_json([second], "val/loss")["groups"][0]["names"] == ["beta=0.5,seed=0", "beta=0.5,seed=1"]
    assert groups_of(ROWS[-1:], "val/loss")[0].mean is None


def test_the_best_comes_first_and_what_has_no_value_last() -> None:
    groups = [Group({}, (name,), mean, None, 1) for name, mean in (("a", 2.0), ("b", None), ("c", 1.0), ("d", 3.0))]
    assert [group.names[0] for group in ordered(groups, lower=True)] == ["c", "a", "d", "b"]
    assert [group.names[0] for group in ordered(groups, lower=False)] == ["d", "a", "c", "b"]


@pytest.mark.parametrize(
    ("metric", "mode", "lower"),
    [
        ("val/loss", None, True),
        ("val/kl", None, True),
        ("val/rewards/accuracies", None, False),
        ("val/loss", "max", False),
        ("val/rewards/margins", "min", True),
    ],
)
def test_less_is_better_of_losses_and_where_it_is_said(metric: str, mode: str | None, lower: bool) -> None:
    assert is_lower_better(metric, mode) is lower


def test_a_metric_that_nobody_logged_is_refused() -> None:
    check_metric(ROWS, "val/loss")
    check_metric(ROWS[-1:], "val/los")  # nothing is known yet
    with pytest.raises(InputError, match=r"no run has logged val/los: did you mean val/loss\?"):
        check_metric(ROWS, "val/los")
    with pytest.raises(InputError, match=r"there are val/loss, \.\.\. The same command"):
        check_metric(ROWS, "reward")
    assert metric_of(ROWS, None) == "val/loss"
    assert metric_of(ROWS, "x") == "x"
    assert metric_of([], None) == "val/rewards/accuracies"


def test_seeds_that_change_nothing_are_seen() -> None:
    axes = [Axis("beta", ("0.1",)), Axis("seed_everything", ("0", "1"))]
    same = [row("0.1", seed, 1.0, key="seed_everything") for seed in ("0", "1")]
    assert same_seeds(same, axes)
    assert not same_seeds([*same, row("0.1", "2", 1.5, key="seed_everything")], axes)
    assert not same_seeds(same[:1], axes)
    assert not same_seeds([row("0.1", seed, 1.0) for seed in ("0", "1")], [Axis("data.seed", ("0", "1"))])


def test_rows_are_read_from_the_records_of_finished_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    (tmp_path / "damaged" / "record").mkdir(parents=True)
    (tmp_path / "damaged" / "record" / "run.json").write_text("{")
    runs = [
        {"name": "a", "values": {"beta": "1"}, "status": "finished"},
        {"name": "b", "values": {"beta": "2"}, "status": "failed"},
        {"name": "damaged", "values": {"beta": "3"}, "status": "finished"},
        {"name": "gone", "values": {"beta": "4"}, "status": "finished"},
    ]
    found = rows_of(runs, tmp_path)
    assert [each.directory for each in found] == [tmp_path / "a", None, None, None]
    assert found[0].metrics["val/rewards/accuracies"] > 0.5
    assert not any(each.metrics for each in found[1:])
    write_csv(tmp_path / "all.csv", found, ["beta"])
    with (tmp_path / "all.csv").open() as file:
        first, second, *_ = csv.DictReader(file)
    assert (first["run"], first["beta"], first["status"]) == ("a", "1", "finished")
    assert float(first["val/loss"]) == found[0].metrics["val/loss"]
    assert second["val/loss"] == ""


def test_a_run_that_ends_with_no_number_is_not_taken_for_what_it_was_before(tmp_path: Path) -> None:
    for step, value in ((4, 0.1), (8, math.nan)):
        add_row(RunRecord(tmp_path / "a").points, {"step": step, "seconds": 1.0, "val/loss": value, "val/kl": 0.5})
    write_document(RunRecord(tmp_path / "a").facts, {})
    (found,) = rows_of([{"name": "a", "values": {}, "status": "finished"}], tmp_path)
    assert found.metrics == {"val/kl": 0.5}
