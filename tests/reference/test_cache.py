"""The cache's parts: shards, keys, locks, weights; and runs that are killed, or run beside each other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from dpo_lightning import Precomputed, PreferenceDataModule, PreferenceModule, TokenizedPair
from dpo_lightning.data.content_hash import index_pairs, index_rows, pair_key
from dpo_lightning.errors import RunError
from dpo_lightning.reference.cache import scoring, shards, store
from dpo_lightning.reference.cache.claims import Claims, buckets_of
from dpo_lightning.reference.cache.scoring import Filling, MissingRows, ScoringRun, cut_batches
from dpo_lightning.reference.cache.shards import CorruptShard, check_shard, open_shard, row_count, write_shard
from dpo_lightning.reference.cache.store import Key, Store
from dpo_lightning.reference.cache.table import ReferenceTable
from dpo_lightning.reference.cache.weights import weights_hash
from tests.helpers.runs import saved_model, trainer, write_rows
from tests.helpers.tiny import tiny_llama
from tests.reference import filling
from tests.reference.common import policy_of
from tests.reference.filling import bound, brute_values, fill, largest_difference, make_pairs, rows_on_disk, values
from tests.test_ddp import run

PAIRS = make_pairs(40)
ROWS = [np.arange(len(pair.chosen_ids) + len(pair.rejected_ids), dtype=np.float32) / 3 for pair in PAIRS]
KEYS = index_pairs(PAIRS).keys
FORK = multiprocessing.get_context("fork")


class TestKeys:
    def test_what_a_row_is_and_nothing_else(self):
        pair = TokenizedPair(0, [1, 2], [3, 4], [5])
        others = [
            pair._replace(prompt_ids=[1], chosen_ids=[2, 3, 4]),
            pair._replace(chosen_ids=[3], rejected_ids=[4, 5]),
            pair._replace(chosen_ids=[5], rejected_ids=[3, 4]),
            pair._replace(prompt_ids=[2, 1]),
        ]
        assert pair_key(pair) == pair_key(pair._replace(pair_id=7))
        assert len({pair_key(other) for other in [pair, *others]}) == 5

    def test_of_a_dataset_are_those_of_its_pairs(self):
        columns = {name: [getattr(pair, name) for pair in PAIRS] for name in TokenizedPair._fields[1:]}
        features = datasets.Features({name: datasets.List(datasets.Value("int32")) for name in columns})
        table = datasets.Dataset.from_dict(columns, features=features)
        for order in (range(len(PAIRS)), [5, 3, 30, 4], []):
            found = index_rows(table.select(order))
            expected = index_pairs([PAIRS[row] for row in order])
            assert found.keys.tolist() == expected.keys.tolist()
            assert found.lengths.tolist() == expected.lengths.tolist()


class TestShards:
    def test_what_is_written_is_read(self, tmp_path):
        path = write_shard(tmp_path, KEYS, ROWS)
        found = check_shard(path)
        assert found.keys.tolist() == KEYS.tolist()
        assert np.array_equal(found.values, np.concatenate(ROWS))
        assert row_count(path) == (len(PAIRS), sum(map(len, ROWS)))
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def test_every_flipped_byte_and_every_cut_is_noticed(self, tmp_path):
        path = write_shard(tmp_path, KEYS[:3], ROWS[:3])
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
            with pytest.raises(CorruptShard):
                check_shard(path)
            path.write_bytes(whole[:place])
            with pytest.raises(CorruptShard):
                open_shard(path)

    def test_a_full_disk_leaves_what_was_there(self, tmp_path, monkeypatch):
        write_shard(tmp_path, KEYS[:9], ROWS[:9])
        before = sorted(tmp_path.iterdir())

        def full(self: Path, data: bytes) -> None:
            with self.open("wb") as file:
                file.write(data[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(RunError, match="No space left on device: the rows before are kept"):
            write_shard(tmp_path, KEYS[9:], ROWS[9:])
        assert sorted(tmp_path.iterdir()) == before


class TestTable:
    def test_rows_of_many_shards(self, tmp_path):
        paths = [write_shard(tmp_path, KEYS[start::3], ROWS[start::3]) for start in range(3)]
        table = pickle.loads(pickle.dumps(ReferenceTable(paths)))
        order = np.random.default_rng(0).permutation(len(PAIRS))
        for row, found in zip(order, table.rows(KEYS[order]), strict=True):
            assert np.array_equal(found, ROWS[row])
        assert len(pickle.dumps(table)) < 1000

    def test_what_is_missing(self, tmp_path):
        table = ReferenceTable([write_shard(tmp_path, KEYS[:30], ROWS[:30])])
        assert table.has(KEYS).tolist() == [True] * 30 + [False] * 10
        with pytest.raises(KeyError) as missing:
            table.rows(KEYS[28:])
        assert missing.value.args == (2,)
        assert not ReferenceTable([]).has(KEYS).any()


class TestWeights:
    def test_are_the_same_wherever_they_come_from(self, tmp_path):
        tiny_llama().save_pretrained(tmp_path)
        expected = weights_hash(tiny_llama())
        assert weights_hash(type(tiny_llama()).from_pretrained(tmp_path)) == expected
        assert weights_hash(policy_of(tiny_llama(attention_dropout=0.1))) == expected
        assert weights_hash(tiny_llama().eval().requires_grad_(False)) == expected

    @pytest.mark.parametrize("lora", [{"target_modules": "all-linear"}, {"target_modules": ["q_proj", "embed_tokens"]}])
    def test_under_an_adapter_are_those_of_the_base(self, lora):
        adapted = get_peft_model(tiny_llama(), LoraConfig(r=2, init_lora_weights=False, **lora))
        assert weights_hash(adapted, adapters=False) == weights_hash(tiny_llama())
        assert weights_hash(adapted) != weights_hash(tiny_llama())

    def test_are_others_when_anything_differs(self):
        def nudged() -> Any:
            model = tiny_llama()
            with torch.no_grad():
                model.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-6
            return model

        def swapped() -> Any:
            model = tiny_llama()
            one, other = (layer.mlp.up_proj.weight for layer in model.model.layers)
            one.data, other.data = other.data, one.data
            return model

        def adapted(**settings: Any) -> Any:
            torch.manual_seed(0)
            return get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"], **settings))

        models = [
            tiny_llama(),
            nudged(),
            swapped(),
            tiny_llama().bfloat16(),
            tiny_llama(rms_norm_eps=1e-3),
            adapted(lora_alpha=4),
            adapted(lora_alpha=8),
        ]
        assert len({weights_hash(model) for model in models}) == len(models)


class TestBatches:
    @pytest.mark.parametrize("is_tree", [True, False])
    def test_every_row_once_within_the_budget(self, is_tree):
        rng = np.random.default_rng(0)
        lengths = rng.integers(1, 50, (200, 3))
        rows = rng.permutation(200)[:150]
        batches = cut_batches(rows, lengths, 300, is_tree)
        assert sorted(np.concatenate(batches).tolist()) == sorted(rows.tolist())
        for batch in batches:
            prompt, chosen, rejected = lengths[batch].T
            width = (prompt + np.maximum(chosen, rejected)).max()
            cost = lengths[batch].sum() if is_tree else 2 * len(batch) * width
            assert cost <= 300

    def test_a_budget_smaller_than_a_row(self):
        assert [batch.tolist() for batch in cut_batches(np.array([0, 1]), np.full((2, 3), 9), 5, True)] == [[0], [1]]

    def test_no_rows(self):
        assert cut_batches(np.empty(0, dtype=int), np.empty((0, 3), dtype=int), 5, True) == []

    @pytest.mark.parametrize(("ranks", "own"), [(1, [7]), (2, [4, 3]), (4, [2, 2, 2, 1])])
    def test_every_rank_makes_as_many_forwards_and_writes_its_own(self, tmp_path, ranks, own):
        """Seven batches of a pair each."""
        written = []
        for rank in range(ranks):
            calls = []

            class Scores:
                is_tree = True

                def __call__(self, pairs: list[TokenizedPair], calls: list[Any] = calls) -> list[np.ndarray]:
                    calls.append(pairs)
                    return [np.zeros(len(pair.chosen_ids) + len(pair.rejected_ids), np.float32) for pair in pairs]

            cache = Store(tmp_path, Key("w", str(rank), "m", "d"))
            cache.prepare()
            missing = MissingRows(PAIRS, index_pairs(PAIRS), np.arange(7))
            Filling(cache, missing, Scores(), 1, ScoringRun(rank=rank, ranks=ranks))._score(np.arange(7))
            assert len(calls) == own[0]
            written.append([shard.keys for shard in cache.scan()])
        assert [sum(map(len, keys)) for keys in written] == own
        assert len(np.unique(np.concatenate([key for keys in written for key in keys]))) == 7


class TestClaims:
    def test_buckets_of_sorted_keys_are_sorted_and_spread(self):
        keys = np.sort(index_pairs(make_pairs(2000)).keys)
        buckets = buckets_of(keys)
        assert (np.diff(buckets) >= 0).all()
        assert 0 <= buckets.min() < 100
        assert 4000 < buckets.max() < 4096
        assert len(np.unique(buckets)) > 1400

    def test_one_process_at_a_time_until_it_ends(self, tmp_path):
        taken, finish = FORK.Event(), FORK.Event()

        def hold() -> None:
            claims = Claims(tmp_path)
            assert claims.take(3)
            taken.set()
            finish.wait(60)

        process = FORK.Process(target=hold)
        process.start()
        assert taken.wait(60)
        claims = Claims(tmp_path)
        assert not claims.take(3)
        assert not claims.take_all()
        assert claims.take(4)
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert claims.take(3)
        claims.give_back()
        assert claims.take_all()
        claims.close()


def score_slowly(cache_dir: Path, pairs: list[TokenizedPair], seconds: float, result: Any = None) -> None:
    """A process that fills the cache, a shard for each batch; sends how many pairs it scored, and all values."""
    scored = []
    score = scoring.Scorer.__call__

    def slowly(self: Any, batch: Any) -> Any:
        time.sleep(seconds)
        scored.extend(batch)
        return score(self, batch)

    scoring.Scorer.__call__ = slowly
    scoring._SECONDS_BETWEEN_SHARDS = 0
    scoring._SECONDS_BETWEEN_LOOKS = 0.01
    scoring._BATCHES_PER_UNIT = 2
    table = fill(bound(policy_of(tiny_llama()), cache_dir, batch_tokens=60), pairs)
    if result is not None:
        result.send((len(scored), [np.array(row) for row in values(table, pairs)]))


def test_killed_at_any_moment_it_goes_on_and_scores_nothing_twice(tmp_path):
    seed = time.time_ns()
    print(f"kills drawn with seed {seed}")
    rng, pairs, counts = random.Random(seed), make_pairs(150), []
    for _ in range(5):
        process = FORK.Process(target=score_slowly, args=(tmp_path, pairs, 0.03))
        process.start()
        goal, deadline = len(filling.shards(tmp_path)) + 1, time.monotonic() + 60
        while len(filling.shards(tmp_path)) < goal and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        counts.append(len(rows_on_disk(tmp_path)))
    assert counts == sorted(set(counts)), "each run got further"
    assert 0 < counts[-1] < len(pairs)

    receive, send = FORK.Pipe(duplex=False)
    process = FORK.Process(target=score_slowly, args=(tmp_path, pairs, 0, send))
    process.start()
    assert receive.poll(60)
    scored, found = receive.recv()
    process.join(60)
    checked = 4
    assert scored == len(pairs) - counts[-1] + checked
    rows = rows_on_disk(tmp_path)
    assert len(rows) == len(np.unique(rows)) == len(pairs)
    assert largest_difference(found, brute_values(tiny_llama().eval(), pairs)) < 1e-5


def test_two_runs_beside_each_other_share_the_work(tmp_path):
    """They overlap in a third of their rows, start with different ones, and one begins later."""
    pairs = make_pairs(60)
    parts = [pairs[:40], pairs[:19:-1]]
    pipes = [FORK.Pipe(duplex=False) for _ in parts]
    processes = [
        FORK.Process(target=score_slowly, args=(tmp_path, part, 0.02, send))
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


def test_a_shard_of_a_killed_run_is_complete_or_not_there(tmp_path, monkeypatch):
    """A kill between the write and the rename leaves a file that nobody reads."""
    directory = tmp_path / "key"

    def die(self: Path, target: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write() -> None:
        monkeypatch.setattr(Path, "replace", die)
        write_shard(directory, KEYS, ROWS)

    process = FORK.Process(target=write)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list(directory.iterdir())) == 1
    assert store.shard_paths(directory) == []


def test_a_directory_that_others_do_not_see_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "write_shard", lambda directory, keys, rows: shards.write_shard(tmp_path, keys, rows))
    with pytest.raises(RunError, match="not to be seen by every process: set cache_dir"):
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
    one, two = (ReferenceTable(filling.shards(cache)) for cache in caches)
    assert largest_difference(two.rows(rows[0]), one.rows(rows[0])) < 1e-5
    assert len(filling.shards(caches[1])) == 2  # one unit of work, half of it from each rank
    for key, value in learner.state_dict().items():
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5)
