"""Hashes and runs of many sequences at once, against plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from dpo_lightning.data.cleaning.sequences import Sequences, mixed

LISTS = [[], [1], [1, 2], [2, 1], [1, 2, 3], [], [0], [0, 0], [1, 2, 3], [3, 2, 1], [0, 1, 2], [12], [1, 2, 0]]


@pytest.fixture
def sequences() -> Sequences:
    return Sequences.of(np.array(each, dtype=np.int64) for each in LISTS)


def test_a_sequence_is_what_it_was(sequences):
    assert [sequences.one(place).tolist() for place in range(sequences.size)] == LISTS
    assert sequences.lengths.tolist() == [len(each) for each in LISTS]


def test_hashes_are_equal_where_sequences_are(sequences):
    hashes = sequences.hashes()
    for first, one in zip(LISTS, hashes, strict=True):
        for second, other in zip(LISTS, hashes, strict=True):
            assert (one == other) == (first == second), (first, second)


def test_hashes_do_not_collide_among_many():
    rng = np.random.default_rng(0)
    lists = {tuple(rng.integers(0, 3, size=rng.integers(1, 9)).tolist()) for _ in range(20_000)}
    hashes = Sequences.of(np.array(each) for each in lists).hashes()
    assert len(set(hashes.tolist())) == len(lists)


def test_a_hash_does_not_depend_on_the_neighbours():
    alone = Sequences.of([np.array([5, 6, 7])]).hashes()[0]
    among = Sequences.of([np.array([9]), np.array([5, 6, 7]), np.array([5])]).hashes()[1]
    assert alone == among


def test_runs_are_those_of_a_loop(sequences):
    runs = sequences.runs(2)
    expected = [
        {tuple(each[start : start + 2]) for start in range(max(len(each) - 1, 1))} if each else set() for each in LISTS
    ]
    names: dict[int, tuple[int, ...]] = {}
    for place, each in enumerate(LISTS):
        found = runs.one(place).tolist()
        in_order = [tuple(each[start : start + 2]) for start in range(max(len(each) - 1, 1))] if each else []
        assert len(found) == len(in_order)
        for number, run in zip(found, in_order, strict=True):
            assert names.setdefault(number, run) == run
        assert {names[number] for number in found} == expected[place]
    assert len(names) == len({run for each in expected for run in each})


def test_there_may_be_none():
    empty = Sequences.of([])
    assert empty.size == 0
    assert empty.hashes().tolist() == empty.runs(3).values.tolist() == []


def test_mixing_is_one_to_one():
    assert len(set(mixed(np.arange(10_000, dtype=np.uint64)).tolist())) == 10_000


@pytest.mark.parametrize("block", [1, 5, 12])
def test_some_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch, block):
    lengths = [4, 0, 0, 11, 1, 2, 30, 0]
    many = Sequences.of(np.random.default_rng(length).integers(0, 99, length) for length in lengths)
    hashes, runs = many.hashes(), many.runs(3)
    monkeypatch.setattr("dpo_lightning.data.cleaning.sequences._BLOCK", block)
    assert [each for part in many.blocks() for each in part.lengths.tolist()] == lengths
    assert np.array_equal(many.hashes(), hashes)
    assert np.array_equal(many.runs(3).values, runs.values)
    assert np.array_equal(many.runs(3).ends, runs.ends)
