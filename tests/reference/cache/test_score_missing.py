"""Scoring by many ranks, by runs that are killed, and by runs beside each other."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpo_lightning import Precomputed, PreferenceDataModule, PreferenceModule, TokenizedExample
from dpo_lightning.data.content_hash import index_examples
from dpo_lightning.errors import RunError
from dpo_lightning.reference.cache import score_missing
from dpo_lightning.reference.cache.lock import ScoringLock
from dpo_lightning.reference.cache.score_missing import Scoring
from dpo_lightning.reference.cache.scorer import Scorer
from dpo_lightning.reference.cache.scoring_run import Pace, ScoringRun
from dpo_lightning.reference.cache.shards import check_shard, write_shard
from dpo_lightning.reference.cache.store import Key, Store
from dpo_lightning.reference.cache.table import ReferenceTable
from dpo_lightning.utils.files import remove_directory
from tests.helpers.runs import saved_model, trainer, write_rows
from tests.helpers.tiny import tiny_llama
from tests.reference.cache.filling import (
    bound,
    brute_values,
    fill,
    largest_difference,
    make_pairs,
    no_rebuild,
    rows_on_disk,
    shards,
    values,
)
from tests.reference.common import policy_of
from tests.test_ddp import run

PAIRS = make_pairs(40)
SERVER = multiprocessing.get_context("forkserver")  # a worker of the tests has threads, which a fork of it may wait for
QUICK = Pace(seconds_between_shards=0, batches_between_meetings=2, seconds_between_looks=0.01)


@pytest.mark.parametrize(("ranks", "own"), [(1, [7]), (2, [4, 3]), (4, [2, 2, 2, 1])])
def test_every_rank_makes_as_many_forwards_and_writes_its_own(tmp_path, ranks, own):
    """Seven batches of a pair each."""
    written = []
    for rank in range(ranks):
        calls = []

        class Scores:
            is_tree = True

            def __call__(self, pairs: list[TokenizedExample], calls: list[Any] = calls) -> list[np.ndarray]:
                calls.append(pairs)
                return [np.zeros(sum(map(len, pair.branches)), np.float32) for pair in pairs]

        cache = Store(tmp_path, Key("w", str(rank), "m", "d"))
        cache.prepare()
        run = ScoringRun(rank=rank, ranks=ranks, is_first=False)
        Scoring(PAIRS, index_examples(PAIRS), cache, Scores(), 1, run)(np.arange(7))
        assert len(calls) == own[0]
        written.append([shard.keys for shard in cache.scan()])
    assert [sum(map(len, keys)) for keys in written] == own
    assert len(np.unique(np.concatenate([key for keys in written for key in keys]))) == 7


def score_slowly(cache_dir: Path, pairs: list[TokenizedExample], seconds: float, result: Any = None) -> None:
    """A process that fills the cache, a shard for each batch; sends how many pairs it scored, and all values."""
    scored = []
    score = Scorer.__call__

    def slowly(self: Any, batch: Any) -> Any:
        time.sleep(seconds)
        scored.extend(batch)
        return score(self, batch)

    Scorer.__call__ = slowly  # type: ignore[method-assign]
    table = fill(bound(policy_of(tiny_llama()), cache_dir, batch_tokens=60), pairs, pace=QUICK)
    if result is not None:
        result.send((len(scored), [np.array(row) for row in values(table, pairs)]))


def test_killed_at_any_moment_it_goes_on_and_scores_nothing_twice(tmp_path):
    seed = time.time_ns()
    print(f"kills drawn with seed {seed}")
    rng, pairs, counts = random.Random(seed), make_pairs(150), []
    for _ in range(5):
        process = SERVER.Process(target=score_slowly, args=(tmp_path, pairs, 0.03))
        process.start()
        goal, deadline = len(shards(tmp_path)) + 1, time.monotonic() + 60
        while len(shards(tmp_path)) < goal and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        counts.append(len(rows_on_disk(tmp_path)))
    assert counts == sorted(set(counts)), "each run got further"
    assert 0 < counts[-1] < len(pairs)
    checked = sum(min(4, len(check_shard(path).keys)) for path in shards(tmp_path))

    receive, send = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=score_slowly, args=(tmp_path, pairs, 0, send))
    process.start()
    assert receive.poll(60)
    scored, found = receive.recv()
    process.join(60)
    assert scored == len(pairs) - counts[-1] + checked
    rows = rows_on_disk(tmp_path)
    assert len(rows) == len(np.unique(rows)) == len(pairs)
    assert largest_difference(found, brute_values(tiny_llama().eval(), pairs)) < 1e-5


def test_of_two_runs_beside_each_other_the_second_reads_what_the_first_has_scored(tmp_path):
    """They overlap in a third of their rows, start with different ones, and one begins later."""
    pairs = make_pairs(60)
    parts = [pairs[:40], pairs[:19:-1]]
    pipes = [SERVER.Pipe(duplex=False) for _ in parts]
    processes = [
        SERVER.Process(target=score_slowly, args=(tmp_path, part, 0.02, send))
        for part, (_, send) in zip(parts, pipes, strict=True)
    ]
    processes[0].start()
    time.sleep(0.1)
    processes[1].start()
    results = []
    for receive, _ in pipes:
        assert receive.poll(90)
        results.append(receive.recv())
    for process in processes:
        process.join(60)

    rows = rows_on_disk(tmp_path)
    assert len(rows) == len(np.unique(rows)) == 60
    assert sum(scored for scored, _ in results) <= 60 + 2 * 4
    assert min(scored for scored, _ in results) > 10
    for part, (_, found) in zip(parts, results, strict=True):
        assert largest_difference(found, brute_values(tiny_llama().eval(), part)) < 1e-5


def test_a_run_that_waits_says_so_and_goes_on_when_its_rows_have_come(tmp_path, caplog, capsys):
    """The other one still holds the lock: of what it scores, these were the only ones that were missing here."""
    policy = policy_of(tiny_llama())
    fill(bound(policy, tmp_path / "whole"), PAIRS)
    (whole,) = shards(tmp_path / "whole")
    fill(bound(policy, tmp_path / "cache"), PAIRS[:10])
    (begun,) = shards(tmp_path / "cache")
    lock = ScoringLock(begun.parent)
    assert lock.take()
    arrives = threading.Timer(0.5, lambda: (begun.parent / whole.name).write_bytes(whole.read_bytes()))
    arrives.start()

    with caplog.at_level(logging.INFO):
        table = fill(bound(policy, tmp_path / "cache"), PAIRS, no_rebuild, progress=True, pace=QUICK)

    arrives.join()
    assert caplog.messages[-1] == "reference cache: waiting for 30 rows while another run is scoring"
    assert "another run is scoring" in (shown := capsys.readouterr().out)
    assert "30/30" in shown
    assert "scoring the reference" not in shown
    assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5
    assert len(shards(tmp_path / "cache")) == 2
    lock.give_back()


def test_what_is_all_there_is_read_while_another_run_scores(tmp_path):
    policy = policy_of(tiny_llama())
    fill(bound(policy, tmp_path), PAIRS)
    lock = ScoringLock(shards(tmp_path)[0].parent)
    assert lock.take()
    fill(bound(policy, tmp_path), PAIRS)
    lock.give_back()


@pytest.mark.parametrize("known", [0, 10])
def test_a_cache_that_is_pruned_while_a_run_waits(tmp_path, known):
    """Rows that the run counted on are gone; where there were none, it scores."""
    reference = bound(policy_of(tiny_llama()), tmp_path)
    if known:
        fill(reference, PAIRS[:known])
    store = Store(tmp_path, Key(reference.source.weights, "32-true", "m", "d"))
    store.prepare()
    lock = ScoringLock(store.directory)
    assert lock.take()

    def prune() -> None:
        remove_directory(store.directory)
        lock.give_back()

    pruned = threading.Timer(0.5, prune)
    pruned.start()
    if known:
        with pytest.raises(RunError, match="it was pruned while this run was waiting: start again"):
            fill(reference, PAIRS, pace=QUICK)
    else:
        fill(reference, PAIRS, pace=QUICK)
        assert len(rows_on_disk(tmp_path)) == len(PAIRS)
        assert (store.directory / "about.json").exists()
    pruned.join()


def test_ranks_wait_together(tmp_path):
    """The second rank asks nobody, and meets the first at each look."""
    store = Store(tmp_path, Key("w", "32", "m", "d"))
    store.prepare()
    keys = index_examples(PAIRS).keys
    lock = ScoringLock(store.directory)
    assert lock.take()
    said: list[Any] = []

    def broadcast(thing: Any) -> Any:
        said.append(thing)
        if len(said) == 3:
            lock.give_back()
        return thing

    first = ScoringRun(broadcast=broadcast, pace=QUICK, ranks=2)
    with score_missing.our_turn(store, score_missing.MissingRows(keys, np.arange(9)), first) as rows:
        assert len(rows) == 9
    assert said[:3] == [None, None, None]

    heard = iter(said)
    second = ScoringRun(is_first=False, rank=1, ranks=2, broadcast=lambda thing: next(heard))
    with score_missing.our_turn(store, score_missing.MissingRows(keys, np.arange(9)), second) as others:
        assert others.tolist() == rows.tolist()
    assert list(heard) == []


def test_a_directory_that_others_do_not_see_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(score_missing, "write_shard", lambda directory, keys, rows: write_shard(tmp_path, keys, rows))
    with pytest.raises(RunError, match=r"not every process sees the rows that another .*: set cache_dir"):
        fill(bound(policy_of(tiny_llama()), tmp_path / "cache"), PAIRS)


def test_two_processes_fill_what_one_fills_and_train_alike(tmp_path):
    name, pairs = saved_model(tmp_path / "model"), write_rows(tmp_path / "pairs.jsonl", 24)
    caches = [tmp_path / "one", tmp_path / "two"]
    learner = PreferenceModule(
        name,
        reference=Precomputed(str(caches[0]), batch_tokens=70),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.0),
    )
    trainer(max_steps=-1, max_epochs=2).fit(
        learner, PreferenceDataModule(pairs, name, val_split="train[:7]", batch_pairs=4)
    )
    reference = {"class_path": "Precomputed", "init_args": {"cache_dir": str(caches[1]), "batch_tokens": 70}}
    _, weights = run(tmp_path, 2, model={"reference": reference})

    rows = [np.sort(rows_on_disk(cache)) for cache in caches]
    assert len(rows[1]) == 24
    assert np.array_equal(*rows)
    one, two = (ReferenceTable(shards(cache)) for cache in caches)
    assert largest_difference(two.rows(rows[0]), one.rows(rows[0])) < 1e-5
    assert len(shards(caches[1])) == 2  # one unit of work, half of it from each rank
    for key, value in learner.state_dict().items():
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5)
