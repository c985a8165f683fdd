"""What was measured is kept by all settings that it depends on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from benchmarks.frontier import RunStore, Task
from benchmarks.frontier.catalogue import START
from dpo_lightning.errors import InputError
from tests.benchmarks.frontier.made_up import PROTOCOL, entry, measured, run, store


def test_a_second_start_finds_what_the_first_has_written(tmp_path):
    path = tmp_path / "runs.jsonl"
    store(path, run(START, 0, -1.0, 0.0), run(entry(), 0, 2.0, 3.0))
    again = RunStore(path)
    assert again.find(Task(START, 0, PROTOCOL).key()) == measured(-1.0, 0.0)
    assert again.find(Task(entry(), 0, PROTOCOL).key()) == measured(2.0, 3.0)
    first = json.loads(path.read_text().splitlines()[1])
    assert (first["name"], first["reward"]["mean"], first["settings"]["seed"]) == ("DPO", 2.0, 0)


@pytest.mark.parametrize(
    "other",
    [
        Task(entry(), 1, PROTOCOL),
        Task(entry(beta=2.0), 0, PROTOCOL),
        Task(replace(entry(), learning_rate=1e-3), 0, PROTOCOL),
        Task(entry(), 0, replace(PROTOCOL, pairs=9)),
        Task(entry(), 0, replace(PROTOCOL, recipe=replace(PROTOCOL.recipe, texts=7))),
    ],
)
def test_other_settings_are_another_run(tmp_path, other):
    made = store(tmp_path / "runs.jsonl", run(entry(), 0, 2.0, 3.0))
    assert made.find(other.key()) is None


def test_the_starting_policy_has_no_settings_of_its_own():
    """What was measured before it was an entry is found."""
    assert Task(START, 0, PROTOCOL).settings() == {"objective": None, "seed": 0, "protocol": asdict(PROTOCOL)}


def test_the_name_alone_is_no_setting(tmp_path):
    """So an entry and a point of its sweep share their runs."""
    made = store(tmp_path / "runs.jsonl", run(entry("DPO"), 0, 2.0, 3.0))
    assert made.find(Task(entry("DPO, beta 1"), 0, PROTOCOL).key()) is not None


def test_a_torn_line_is_dropped_and_the_next_run_stands_on_its_own(tmp_path):
    path = tmp_path / "runs.jsonl"
    store(path, run(entry(), 0, 2.0, 3.0), run(entry(), 1, 2.5, 3.5))
    path.write_bytes(path.read_bytes()[:-20])
    again = RunStore(path)
    assert again.find(Task(entry(), 1, PROTOCOL).key()) is None
    again.add(run(entry(), 1, 4.0, 5.0))
    assert RunStore(path).find(Task(entry(), 0, PROTOCOL).key()) == measured(2.0, 3.0)
    assert RunStore(path).find(Task(entry(), 1, PROTOCOL).key()) == measured(4.0, 5.0)


@pytest.mark.parametrize("line", ["hello", "[]", '{"name": "DPO"}'])
def test_another_file_is_refused(tmp_path, line):
    path = tmp_path / "runs.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match="line 1: not a run of the frontier"):
        RunStore(path)
    assert path.read_text() == line + "\n"
