"""Which runs a frontier takes, and what is shown of those that are there."""

from __future__ import annotations

import json

import pytest

from benchmarks.frontier import Experiment, entries_named
from benchmarks.frontier.catalogue import START, SWEEPS
from benchmarks.frontier.protocol import key_of_mean
from dpo_lightning.errors import InputError
from tests.benchmarks.frontier.made_up import PROTOCOL, measured, run, store

DPO, SFT = entries_named(["DPO", "SFT"])


def test_seed_by_seed_and_a_point_of_a_sweep_once():
    """One of DPO's sweep is DPO itself."""
    tasks = Experiment([DPO, SFT], range(2), PROTOCOL).tasks()
    assert [(task.name, task.seed) for task in tasks[:3]] == [("starting policy", 0), ("DPO", 0), ("SFT", 0)]
    assert [task.seed for task in tasks] == sorted(task.seed for task in tasks)
    assert len(tasks) == len({task.key() for task in tasks}) == 2 * (2 + len(SWEEPS["DPO"]))
    assert len(Experiment([DPO, SFT], range(2), PROTOCOL, sweeping=False).tasks()) == 2 * 3


def test_what_was_run_is_not_missing(tmp_path):
    made = store(tmp_path / "runs.jsonl", run(START, 0, -1.0, 0.0), run(SFT, 1, 1.0, 1.0))
    missing = Experiment([DPO, SFT], range(2), PROTOCOL, sweeping=False).missing(made)
    assert [(task.name, task.seed) for task in missing] == [("DPO", 0), ("SFT", 0), ("starting policy", 1), ("DPO", 1)]


def test_there_is_a_frontier_with_the_start_and_an_entry(tmp_path):
    experiment = Experiment([DPO, SFT], range(2), PROTOCOL)
    made = store(tmp_path / "runs.jsonl", run(DPO, 0, 2.0, 3.0))
    assert experiment.frontier(made) is None
    made.add(run(START, 0, -1.0, 0.0))
    frontier = experiment.frontier(made)
    assert frontier is not None
    assert (frontier.start.entry, [point.name for point in frontier.entries]) == (START, ["DPO"])
    (point,) = frontier.sweeps["DPO"]
    assert point.reward.mean == 2.0
    assert experiment.frontier(store(tmp_path / "other.jsonl", run(START, 0, -1.0, 0.0))) is None


def test_a_kept_mean_stands_for_its_seeds(tmp_path):
    """Of other seeds it is nothing; what was run again is shown beside it."""
    path = tmp_path / "runs.jsonl"
    experiment = Experiment([DPO, SFT], range(2), PROTOCOL, sweeping=False)
    kept = measured(-1.0, 0.0)
    for entry in (START, SFT):
        settings = json.loads(key_of_mean(entry, range(2), PROTOCOL))
        row = {"settings": settings, **{name: value._asdict() for name, value in kept._asdict().items()}}
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
    made = store(path, run(START, 0, -2.0, 0.0), run(START, 1, -2.0, 0.0))
    assert [(task.name, task.seed) for task in experiment.missing(made)] == [("DPO", 0), ("DPO", 1)]
    assert len(Experiment([SFT], range(3), PROTOCOL, sweeping=False).missing(made)) == 4
    frontier = experiment.frontier(made)
    assert frontier is not None
    assert (frontier.start.kept, frontier.start.reward.mean) == (False, -2.0)
    assert [(point.name, point.kept, point.seeds) for point in frontier.entries] == [("SFT", True, 2)]
    assert frontier.rows()[1][1] == "SFT †"
    assert "true reward then and now: starting policy -1.00 ± 0.10 and -2.00 ± 0.00" in frontier.summary()[-1]


def test_entries_come_in_the_order_of_their_names():
    assert entries_named(["SFT", "DPO"]) == [SFT, DPO]
    with pytest.raises(InputError, match="no objective 'DPPO' in the catalogue; the nearest is 'DPO'"):
        entries_named(["SFT", "DPPO"])
