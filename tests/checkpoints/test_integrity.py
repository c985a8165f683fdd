"""A checkpoint that is not as it was written is found out, wherever it is broken."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path

import pytest
import torch

from dpo_lightning.checkpoints import damage, problem
from dpo_lightning.checkpoints.integrity import MANIFEST, checksums
from tests.helpers.saved import TouchesAFile, content, flip, same, truncate


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.save(content(), tmp_path / "step=1.ckpt")
    return tmp_path / "step=1.ckpt"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    directory = tmp_path / "step=1.ckpt"
    (directory / "nested").mkdir(parents=True)
    for name in ("__0_0.distcp", "__1_0.distcp", "nested/meta.pt"):
        (directory / name).write_bytes(random.Random(name).randbytes(3000))
    files = [path for path in directory.rglob("*") if path.is_file()]
    (directory / MANIFEST).write_text(json.dumps({"files": checksums(directory, files)}))
    return directory


def test_a_whole_one_has_no_problem(saved):
    assert problem(saved) is None
    assert damage(saved) is None


def test_every_truncation_is_found(saved):
    whole = saved.read_bytes()
    lengths = [0, 1, 4, 100, len(whole) // 2, *range(len(whole) - 200, len(whole))]
    for length in lengths:
        saved.write_bytes(whole)
        truncate(saved, length)
        assert damage(saved), f"cut at {length} of {len(whole)}"


def test_a_flipped_bit_is_found_or_changes_nothing(saved):
    """Some bits hold nothing: padding and dates in the file's directory."""
    whole = saved.read_bytes()
    generator = random.Random(0)
    ends = [*range(150), *range(len(whole) - 300, len(whole))]
    found = 0
    for position in [*ends, *generator.choices(range(len(whole)), k=500)]:
        saved.write_bytes(whole)
        flip(saved, position, generator.randrange(8))
        if damage(saved):
            found += 1
        else:
            assert same(torch.load(saved, weights_only=True), content()), f"byte {position} of {len(whole)}"
    assert found > 500


def test_every_flipped_bit_in_a_tensor_is_found(saved):
    start = saved.read_bytes().index(content()["state_dict"]["policy.weight"].numpy().tobytes())
    whole = saved.read_bytes()
    for position in range(start, start + 2000, 97):
        saved.write_bytes(whole)
        flip(saved, position, bit=6)
        assert "is corrupt" in damage(saved)
        assert not same(torch.load(saved, weights_only=True), content()), "torch would notice: this test proves nothing"


@pytest.mark.parametrize("key", ["state_dict", "loops", "optimizer_states", "lr_schedulers"])
def test_a_checkpoint_without_what_a_run_needs_is_whole_and_has_a_problem(saved, key):
    torch.save({name: value for name, value in content().items() if name != key}, saved)
    assert damage(saved) is None
    assert f"no {key}" in problem(saved)


def test_other_files_have_a_problem(tmp_path):
    assert "no such file" in problem(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    assert "no whole torch checkpoint" in problem(tmp_path / "text.ckpt")
    (tmp_path / "pickle.ckpt").write_bytes(pickle.dumps(TouchesAFile(tmp_path / "ran")))
    assert "no whole torch checkpoint" in problem(tmp_path / "pickle.ckpt")
    torch.save({"state_dict": TouchesAFile(tmp_path / "ran")}, tmp_path / "evil.ckpt")
    assert "cannot be loaded" in problem(tmp_path / "evil.ckpt")
    torch.save([1], tmp_path / "list.ckpt")
    assert "no state_dict" in problem(tmp_path / "list.ckpt")
    assert not (tmp_path / "ran").exists()


def test_whole_shards_have_no_problem(shards):
    assert problem(shards) is None


@pytest.mark.parametrize("name", ["__0_0.distcp", "nested/meta.pt"])
def test_broken_shards_are_named(shards, name):
    whole = (shards / name).read_bytes()
    for break_it in (lambda path: flip(path, 1234, 3), lambda path: truncate(path, 2999)):
        break_it(shards / name)
        assert name in problem(shards)
        assert "is corrupt" in problem(shards)
        (shards / name).write_bytes(whole)
    (shards / name).unlink()
    assert f"{name} is missing" in problem(shards)


def test_shards_without_a_whole_manifest_have_a_problem(shards):
    for text in ("{", "[]", '{"files": 3}', '{"files": {"__0_0.distcp": 1}}', "\x00"):
        (shards / MANIFEST).write_text(text)
        assert f"{MANIFEST} is corrupt" in problem(shards), text
    (shards / MANIFEST).unlink()
    assert f"no {MANIFEST}" in problem(shards)
