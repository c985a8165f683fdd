"""The newest good checkpoint of a directory; directories of shards, in two processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from dpo_lightning.checkpoints import DurableCheckpointIO, SaveError, newest_good, problem, saved_steps, sharded_save
from dpo_lightning.checkpoints.integrity import MANIFEST
from dpo_lightning.errors import InputError
from tests.helpers.saved import content, forked, reports, spoil, truncate


def save(directory: Path, *steps: int) -> list[Path]:
    paths = [directory / f"step={step}.ckpt" for step in steps]
    for step, path in zip(steps, paths, strict=True):
        DurableCheckpointIO().save_checkpoint(content(step), path)
    return paths


def test_the_newest_is_that_of_the_latest_step_and_not_of_the_latest_date(tmp_path):
    old, new, middle = save(tmp_path, 9, 100, 20)
    os.utime(new, (0, time.time() - 1000))
    (tmp_path / "step=200.ckpt.txt").write_text("")
    (tmp_path / "last.ckpt").symlink_to("nowhere")
    assert list(saved_steps(tmp_path).items()) == [(100, new), (20, middle), (9, old)]
    assert newest_good(tmp_path).path == new


def test_bad_ones_are_named_and_skipped(tmp_path):
    good, cut, flipped, empty = save(tmp_path, 1, 2, 3, 4)
    truncate(cut, 900)
    spoil(flipped)
    truncate(empty, 0)
    with pytest.warns(UserWarning, match="is skipped") as warned:
        assert newest_good(tmp_path).path == good
    assert [str(warning.message).split()[1] for warning in warned] == [str(path) for path in (empty, flipped, cut)]


@pytest.mark.filterwarnings("ignore:checkpoint .* is skipped:UserWarning")
def test_a_run_does_not_begin_anew_when_all_are_bad(tmp_path):
    for path in save(tmp_path, 1, 2):
        truncate(path, 900)
    with pytest.raises(InputError, match=r"no good checkpoint in .*step=2.ckpt: .*; step=1.ckpt: .*: delete them"):
        newest_good(tmp_path)


def test_an_empty_directory_and_none_have_no_checkpoint(tmp_path):
    assert newest_good(tmp_path) is None
    assert newest_good(tmp_path / "none") is None


def test_two_ranks_write_shards_together_and_fail_together(tmp_path):
    def rank(number):
        def run(report):
            store = dist.FileStore(str(tmp_path / "store"), 2)
            dist.init_process_group("gloo", store=store, rank=number, world_size=2)

            def write(shards: Path, fails: bool = False) -> None:
                shards.mkdir(exist_ok=True)
                if fails:
                    (shards / "shard").symlink_to("/dev/full")
                    (shards / "shard").write_text("x" * 100_000)
                (shards / f"shard-{number}").write_text("x" * 1000 * (number + 1))

            sharded_save(tmp_path / "step=1.ckpt", write)
            report(str(problem(tmp_path / "step=1.ckpt")))
            try:
                sharded_save(tmp_path / "step=1.ckpt", lambda shards: write(shards, fails=number == 1))
            except SaveError as error:
                report(str(error))

        return run

    children = [forked(rank(number)) for number in (0, 1)]
    (first, failed), (second, failed_too) = [reports(*child) for child in children]
    assert (first, second) == ("None", "None")
    assert failed == failed_too
    assert "the disk is full" in failed
    assert problem(tmp_path / "step=1.ckpt") is None
    assert {path.name for path in (tmp_path / "step=1.ckpt").iterdir()} == {"shard-0", "shard-1", MANIFEST}
    assert {path.name for path in tmp_path.iterdir()} == {"step=1.ckpt", "store"}
