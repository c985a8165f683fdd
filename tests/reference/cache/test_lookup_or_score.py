"""What a run finds, what it scores, and what it says of it."""

from __future__ import annotations

import logging
import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from dpo_lightning import Precomputed
from dpo_lightning.data.content_hash import index_examples
from dpo_lightning.errors import RunError
from dpo_lightning.reference.cache import lookup_or_score, score_missing
from dpo_lightning.reference.cache.shards import open_shard, write_shard
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import tiny_llama
from tests.reference.cache.filling import (
    bound,
    brute_values,
    fill,
    largest_difference,
    make_pairs,
    rows_on_disk,
    shards,
    values,
)
from tests.reference.common import policy_of, train

PAIRS = make_pairs(30)


def test_rows_in_another_order_and_fewer_of_them(tmp_path, forwards):
    policy = policy_of()
    fill(bound(policy, tmp_path), PAIRS)
    before = shards(tmp_path)

    table = fill(bound(policy, tmp_path), PAIRS[20:5:-1])

    assert shards(tmp_path) == before
    assert largest_difference(values(table, PAIRS[6:9]), brute_values(tiny_llama().eval(), PAIRS[6:9])) < 1e-5


def test_only_new_rows_are_scored_and_each_once(tmp_path, forwards):
    policy = policy_of()
    fill(bound(policy, tmp_path), PAIRS)
    forwards.clear()

    renumbered = [pair._replace(row=99) for pair in PAIRS]
    new = make_pairs(3, seed=4)
    fill(bound(policy, tmp_path), [*renumbered, *new, *new])

    assert sum(forwards) == 4 + 3  # a few are scored anew, to check
    rows = rows_on_disk(tmp_path)
    assert len(rows) == len(np.unique(rows)) == len(PAIRS) + 3


def test_a_run_with_other_settings_scores_nothing(tmp_path, monkeypatch):
    cache = str(tmp_path / "cache")
    trainer(max_steps=-1, max_epochs=2).fit(module(reference=Precomputed(cache), lr=1e-2), data(tmp_path))
    before = shards(tmp_path / "cache")
    monkeypatch.setattr(score_missing, "write_shard", None)
    other = data(tmp_path, val_split="train[4:20]", batch_pairs=3, seed=5, layout="padded")
    run = trainer(max_steps=-1, max_epochs=2, accumulate_grad_batches=2)
    run.fit(module(reference=Precomputed(cache, batch_tokens=50), lr=1e-2), other)
    assert shards(tmp_path / "cache") == before


@pytest.mark.parametrize(
    ("policy", "run", "said"),
    [
        ({"seed": 1}, {}, "the cache holds other weights only, under 1 keys: see `dpo-lightning cache info`"),
        ({"rope_theta": 500.0}, {}, "the cache holds other weights only"),
        (
            {},
            {"precision": "bf16-mixed"},
            "the same weights were scored in precision 32-true instead of bf16-mixed",
        ),
    ],
    ids=["weights", "settings", "precision"],
)
def test_it_misses_loudly(tmp_path, caplog, policy, run, said):
    fill(bound(policy_of(tiny_llama()), tmp_path), PAIRS)
    with caplog.at_level(logging.INFO):
        fill(bound(policy_of(tiny_llama(**policy)), tmp_path), PAIRS, **run)
    line = caplog.messages[-1]
    assert "0 of 30 different rows are there, 30 are scored now" in line
    assert said in line
    assert len(rows_on_disk(tmp_path)) == 60


def test_values_that_are_not_the_references_stop_the_run(tmp_path):
    policy = policy_of()
    reference = bound(policy, tmp_path)
    table = fill(reference, PAIRS)
    wrong = [row + 0.5 for row in values(table, PAIRS)]
    directory = shards(tmp_path)[0].parent
    shards(tmp_path)[0].unlink()
    write_shard(directory, index_examples(PAIRS).keys, wrong)

    with pytest.raises(RunError, match=r"does not hold this reference's values: token \d of pair \d+ is .*prune --key"):
        fill(bound(policy, tmp_path), PAIRS)


def test_every_shard_is_compared_wherever_its_rows_are(tmp_path, forwards):
    policy = policy_of()
    for part in range(5):
        fill(bound(policy, tmp_path), PAIRS[6 * part : 6 * part + 6])
    forwards.clear()
    table = fill(bound(policy, tmp_path), PAIRS)
    assert sum(forwards) == 5 * 4
    for path in shards(tmp_path):
        content = path.read_bytes()
        shard = open_shard(path)
        rows = [shard.values[start:end] + 0.5 for start, end in zip(shard.starts[:-1], shard.starts[1:], strict=True)]
        keys = shard.keys.copy()
        path.unlink()
        changed = write_shard(path.parent, keys, rows)
        with pytest.raises(RunError, match="does not hold this reference's values"):
            fill(bound(policy, tmp_path), PAIRS)
        changed.unlink()
        path.write_bytes(content)
    assert largest_difference(values(fill(bound(policy, tmp_path), PAIRS), PAIRS), values(table, PAIRS)) == 0


def test_other_rows_are_compared_in_each_run(tmp_path):
    shards_of, there = np.repeat([0, 1], 50), np.arange(100) + 7
    drawn = [lookup_or_score._some_of_each(shards_of, there) for _ in range(20)]
    assert {len(each) for each in drawn} == {8}
    assert all(((each < 57).sum(), (each >= 57).sum()) == (4, 4) for each in drawn)
    assert len({tuple(each) for each in drawn}) > 10
    assert len({int(row) for each in drawn for row in each}) > 40


@pytest.mark.parametrize("change", [lambda row: row * np.nan, lambda row: row[:-1], lambda row: np.append(row, -1)])
def test_values_of_another_length_and_no_numbers_are_noticed(tmp_path, change):
    policy = policy_of()
    table = fill(bound(policy, tmp_path), PAIRS)
    wrong = [change(row) for row in values(table, PAIRS)]
    path = shards(tmp_path)[0]
    path.unlink()
    write_shard(path.parent, index_examples(PAIRS).keys, wrong)
    with pytest.raises(RunError, match="does not hold this reference's values"):
        fill(bound(policy, tmp_path), PAIRS)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_corrupt_shard_is_named_and_its_rows_are_scored_again(tmp_path, damage):
    policy = policy_of()
    fill(bound(policy, tmp_path), PAIRS[:10])
    broken = shards(tmp_path)[0]
    fill(bound(policy, tmp_path), PAIRS)
    content = bytearray(broken.read_bytes())
    content[-40] ^= 1
    broken.write_bytes({"flipped": content, "cut": content[:-100], "empty": b""}[damage])

    with pytest.warns(UserWarning, match=rf"{broken.name} is corrupt .*its rows are scored again"):
        table = fill(bound(policy, tmp_path), PAIRS)

    assert largest_difference(values(table, PAIRS), brute_values(tiny_llama().eval(), PAIRS)) < 1e-5
    # The same rows make the same shard, which takes the place of the broken one.
    assert len(rows_on_disk(tmp_path)) == len(PAIRS)


def test_the_random_state_is_left_alone(tmp_path):
    policy = policy_of(tiny_llama(attention_dropout=0.5))
    reference = bound(policy, tmp_path)

    def draws() -> tuple[Any, ...]:
        return random.random(), np.random.rand(), torch.rand(1).item()

    def seed() -> None:
        pl.seed_everything(1, verbose=False)

    seed()
    expected = draws()
    seed()
    fill(reference, PAIRS)
    assert draws() == expected

    train(policy)
    others = make_pairs(3, seed=9)  # whose types are checked at random places
    seed()
    fill(reference, others, rebuild=lambda: policy_of(tiny_llama()))
    assert draws() == expected


def test_a_bar_is_shown_where_the_trainer_has_one(tmp_path, capsys):
    fill(bound(policy_of(), tmp_path), PAIRS, progress=True)
    assert "scoring the reference" in (shown := capsys.readouterr().out)
    assert "30/30" in shown
    fill(bound(policy_of(), tmp_path), make_pairs(3, seed=2))
    assert capsys.readouterr().out == ""
