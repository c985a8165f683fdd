"""`dpo-lightning cache`: what it says, what it removes, and its exit codes."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from dpo_lightning.cli.main import main
from dpo_lightning.reference.cache.lock import ScoringLock
from dpo_lightning.reference.cache.store import stored_keys
from tests.helpers.tiny import tiny_llama
from tests.reference.cache.filling import bound, fill, make_pairs, rows_on_disk, shards
from tests.reference.common import policy_of

PAIRS = make_pairs(12)
TOKENS = sum(sum(map(len, pair.branches)) for pair in PAIRS)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two references: the second one lacks a row."""
    for seed, pairs in ((0, PAIRS), (1, PAIRS[1:])):
        fill(bound(policy_of(tiny_llama(seed)), tmp_path), pairs)
    return tmp_path


def run(*words: str) -> int:
    """The exit code of the command."""
    try:
        main(["cache", *words])
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code)
            return 1
        return int(end.code or 0)
    return 0


def key_of(cache: Path, seed: int) -> str:
    reference = bound(policy_of(tiny_llama(seed)), cache)
    return reference.source.weights


def break_one(cache: Path) -> Path:
    path = shards(cache)[0]
    path.write_bytes(path.read_bytes()[:-3])
    return path


def test_info_lists_every_key(cache, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert run("info", "--cache_dir", str(cache)) == 0
    shown = capsys.readouterr().out
    first = next(line for line in shown.splitlines() if key_of(cache, 0)[:12] in line)
    assert [cell.strip() for cell in first.split("│")[2:5]] == ["32-true", "12", str(TOKENS)]
    assert "float32" in first
    assert "LlamaForCausalLM" in first
    assert key_of(cache, 1)[:12] in shown


def test_info_of_damaged_files_is_about_the_rest(cache, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    shards(cache)[0].write_bytes(b"")
    next(cache.glob("*/about.json")).write_text("{")
    assert run("info", "--cache_dir", str(cache)) == 0
    assert capsys.readouterr().out.count("32-true") == 2


def test_verify_exits_1_and_names_what_is_corrupt(cache, capsys):
    assert run("verify", "--cache_dir", str(cache)) == 0
    assert "2 shards of 2 keys verified, 0 corrupt" in capsys.readouterr().out
    broken = break_one(cache)
    assert run("verify", "--cache_dir", str(cache)) == 1
    said = capsys.readouterr().out
    assert f"corrupt: {broken}: truncated" in said
    assert "2 shards of 2 keys verified, 1 corrupt" in said


def test_prune_by_key(cache, capsys):
    key = key_of(cache, 0)
    before = len(rows_on_disk(cache))
    assert run("prune", "--cache_dir", str(cache), "--key", key[:8], "--dry_run") == 0
    assert f"key {key}" in (said := capsys.readouterr().out)
    assert "would free" in said
    assert len(rows_on_disk(cache)) == before
    assert run("prune", "--cache_dir", str(cache), "--key", key[:8]) == 0
    assert "freed" in capsys.readouterr().out
    assert [stored.weights for _, stored, _ in stored_keys(cache)] == [key_of(cache, 1)]
    assert len(list(cache.iterdir())) == 1


def test_prune_by_age(cache):
    old = next(path for path, key, _ in stored_keys(cache) if key.weights == key_of(cache, 1))
    os.utime(old / "about.json", (0, time.time() - 10 * 86400))
    assert run("prune", "--cache_dir", str(cache), "--older_than", "11") == 0
    assert len(shards(cache)) == 2
    assert run("prune", "--cache_dir", str(cache), "--older_than", "9") == 0
    assert not old.exists()
    assert len(shards(cache)) == 1


def test_a_run_that_reads_makes_a_key_young_again(cache):
    for path, _, _ in stored_keys(cache):
        os.utime(path / "about.json", (0, 0))
    fill(bound(policy_of(tiny_llama(0)), cache), PAIRS)
    run("prune", "--cache_dir", str(cache), "--older_than", "1")
    assert [key.weights for _, key, _ in stored_keys(cache)] == [key_of(cache, 0)]


def test_prune_what_is_corrupt(cache, capsys):
    broken = break_one(cache)
    leftover = broken.with_name(f".{broken.name}.999999999.tmp")
    leftover.write_bytes(b"123")
    assert run("prune", "--cache_dir", str(cache), "--corrupt", "--dry_run") == 0
    assert broken.exists()
    assert run("prune", "--cache_dir", str(cache), "--corrupt") == 0
    assert not broken.exists()
    assert not leftover.exists()
    assert len(shards(cache)) == 1
    assert run("verify", "--cache_dir", str(cache)) == 0


def test_prune_leaves_alone_what_is_no_key(cache):
    other = cache / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("words")
    main(["cache", "prune", "--cache_dir", str(cache), "--all"])
    assert [path.name for path in cache.iterdir()] == ["precious"]
    assert (other / "thesis.txt").read_text() == "words"


def test_prune_all(cache):
    assert run("prune", "--cache_dir", str(cache), "--all") == 0
    assert list(cache.iterdir()) == []


def test_prune_keeps_what_a_run_is_writing(cache, capsys):
    fork = multiprocessing.get_context("fork")
    taken, finish = fork.Event(), fork.Event()
    busy = next(path for path, _, _ in stored_keys(cache))

    def hold() -> None:
        lock = ScoringLock(busy)
        assert lock.take()
        taken.set()
        finish.wait(60)

    process = fork.Process(target=hold)
    process.start()
    assert taken.wait(60)
    assert run("prune", "--cache_dir", str(cache), "--all") == 0
    assert f"kept, a run is writing there: {busy.name}" in capsys.readouterr().out
    assert [path for path, _, _ in stored_keys(cache)] == [busy]
    finish.set()
    process.join(60)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["prune"], 1, "cache prune: say what: --key, --older_than, --all or --corrupt"),
        (["prune", "--key", "zz"], 1, "no key begins with 'zz'"),
        (["prune", "--older_than", "old"], 2, "error: argument --older_than: invalid float value: 'old'"),
        (["shrink"], 2, "invalid choice: 'shrink'"),
        ([], 2, "error: the following arguments are required"),
    ],
)
def test_wrong_arguments_are_one_line(cache, capsys, words, code, said):
    place = ["--cache_dir", str(cache)] if words[:1] == ["prune"] else []
    assert run(*words, *place) == code
    shown = capsys.readouterr()
    text = (shown.out + shown.err).strip()
    assert said in text
    assert "\n" not in text


def test_no_cache_there(tmp_path, capsys):
    assert run("info", "--cache_dir", str(tmp_path / "nope")) == 1
    assert "no reference cache in" in capsys.readouterr().out
