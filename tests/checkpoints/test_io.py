"""Checkpoint files are whole or not there, on a full disk and killed at any moment; loading them runs no code."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from dpo_lightning.checkpoints import DurableCheckpointIO, SaveError, newest_good, problem, sharded_save
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import remove_leftovers, temporary_name
from tests.helpers.saved import (
    TouchesAFile,
    content,
    forked,
    killed_reports,
    reports,
    same,
    spoil,
    truncate,
    web_server,
)

IO = DurableCheckpointIO()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the directory."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web_server(tmp_path) as url:
        yield url


def test_a_save_is_what_a_load_gives_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "deep" / "step=1.ckpt"
    IO.save_checkpoint(content(1), path)
    IO.save_checkpoint(content(2), path)
    assert same(IO.load_checkpoint(path), content(2))
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_on_disk_before_it_has_its_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    events = []
    path = tmp_path / "step=1.ckpt"
    monkeypatch.setattr(
        "os.fsync", lambda descriptor: events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
    )
    rename = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: events.append("rename") or rename(self, target))
    IO.save_checkpoint(content(), path)
    assert events == [temporary_name(path).name, "rename", tmp_path.name]


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "step=1.ckpt"
    IO.save_checkpoint(content(1), path)
    temporary_name(path).symlink_to("/dev/full")  # whose every write is refused, as on a full disk
    with pytest.raises(
        SaveError, match=r"step=1.ckpt could not be written: the disk is full \(No space left"
    ) as caught:
        IO.save_checkpoint(content(2), path)
    assert "MiB are free" in str(caught.value)
    assert "Earlier checkpoints are intact" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(IO.load_checkpoint(path), content(1))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("limit", [0, 100, 3000, 50_000, 390_000, 400_000])
def test_a_disk_that_fills_up_on_the_way_leaves_what_was_there(tmp_path, limit):
    """The kernel refuses to write past a limit, wherever torch is in its file."""

    def save(report):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        IO.save_checkpoint(content(2, numbers=50_000), tmp_path / "step=1.ckpt")

    IO.save_checkpoint(content(1), tmp_path / "step=1.ckpt")
    (said,) = reports(*forked(save))
    assert said.startswith("SaveError: ")
    assert "the disk is full (File too large" in said
    assert same(IO.load_checkpoint(tmp_path / "step=1.ckpt"), content(1))
    assert [path.name for path in tmp_path.iterdir()] == ["step=1.ckpt"]


def test_another_refusal_is_named_and_another_error_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="could not be written: File exists"):
        IO.save_checkpoint(content(), tmp_path / "file" / "step=1.ckpt")
    with pytest.raises(AttributeError, match="pickle"):
        IO.save_checkpoint({"function": lambda: None}, tmp_path / "step=1.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def save_files(directory: Path, step: int) -> None:
    IO.save_checkpoint(content(step, numbers=200_000), directory / f"step={step}.ckpt")
    if step > 2:
        IO.remove_checkpoint(directory / f"step={step - 2}.ckpt")


def save_shards(directory: Path, step: int) -> None:
    def write(shards: Path) -> None:
        shards.mkdir()
        for shard in range(3):
            torch.save(content(step, numbers=50_000), shards / f"__{shard}_0.distcp")

    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    sharded_save(directory / f"step={step}.ckpt", write)
    if step > 2:
        IO.remove_checkpoint(directory / f"step={step - 2}.ckpt")


@pytest.mark.parametrize("save", [save_files, save_shards])
def test_killed_at_any_moment_the_newest_good_one_is_what_was_saved_last(tmp_path, save):
    """Every process goes on from what the one before it had left, as a run does that is started again."""
    generator = random.Random(0)
    step, leftovers = 0, 0

    def run(report):
        for number in range(step + 1, step + 10_000):
            save(tmp_path, number)
            report(str(number))

    for _ in range(25):
        done = killed_reports(*forked(run), after=generator.uniform(0, 0.03))
        assert all(line.isdecimal() for line in done), done
        newest = newest_good(tmp_path)
        assert newest is not None
        step = int(newest.path.stem.removeprefix("step="))
        assert step in (int(done[-1]), int(done[-1]) + 1)
        leftovers += any(path.name.startswith(".") for path in tmp_path.iterdir())
        remove_leftovers(tmp_path)
        assert not any(path.name.startswith(".") for path in tmp_path.iterdir())
    assert leftovers, "no process was killed in the middle of a save: this test proves nothing"


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "step=1.ckpt"
    IO.save_checkpoint(content(), path)
    spoil(path)
    with pytest.raises(InputError, match=r"^checkpoint .*/step=1.ckpt: its record .* is corrupt: take another one$"):
        IO.load_checkpoint(path)
    truncate(path, 1000)
    with pytest.raises(InputError, match="no whole torch checkpoint"):
        IO.load_checkpoint(path)
    with pytest.raises(InputError, match="no such file"):
        IO.load_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(InputError, match="directory of shards"):
        IO.load_checkpoint(tmp_path)


def test_no_code_runs_unless_that_is_asked_for(tmp_path):
    marker = tmp_path / "ran"
    torch.save({"state_dict": {}, "evil": TouchesAFile(marker)}, tmp_path / "evil.ckpt")
    for path in (tmp_path / "evil.ckpt", str(tmp_path / "evil.ckpt")):
        for weights_only in (None, True):
            with pytest.raises(InputError, match="holds more than plain types"):
                IO.load_checkpoint(path, weights_only=weights_only)
    assert not marker.exists()
    IO.load_checkpoint(tmp_path / "evil.ckpt", weights_only=False)
    assert marker.exists()


def test_no_code_of_a_url_runs(tmp_path, served):
    marker = tmp_path / "ran"
    torch.save({"state_dict": TouchesAFile(marker)}, tmp_path / "evil.ckpt")
    for weights_only in (None, True):
        with pytest.raises(InputError, match=r"http://.*/evil.ckpt holds more than plain types"):
            IO.load_checkpoint(f"{served}/evil.ckpt", weights_only=weights_only)
    with pytest.raises(InputError, match="would run code from http"):
        IO.load_checkpoint(f"{served}/evil.ckpt", weights_only=False)
    assert not marker.exists()


def test_a_url_is_read_anew_each_time(tmp_path, served):
    """torch's own download would take the first file for the second: they have one name."""
    for step in (1, 2):
        (tmp_path / str(step)).mkdir()
        IO.save_checkpoint(content(step), tmp_path / str(step) / "step.ckpt")
        assert same(IO.load_checkpoint(f"{served}/{step}/step.ckpt"), content(step))
    truncate(tmp_path / "2/step.ckpt", 1500)
    with pytest.raises(InputError, match=r"http://.*/2/step.ckpt: it is no whole torch checkpoint"):
        IO.load_checkpoint(f"{served}/2/step.ckpt")
    with pytest.raises(InputError, match=r"http://.*/3/step.ckpt: .*404"):
        IO.load_checkpoint(f"{served}/3/step.ckpt")


def test_a_directory_is_removed_as_a_whole(tmp_path, monkeypatch):
    save = tmp_path / "step=1.ckpt"
    save.mkdir()
    (save / "shard").write_text("")
    seen = []
    monkeypatch.setattr("dpo_lightning.utils.files.shutil.rmtree", lambda path: seen.append((path, save.exists())))
    IO.remove_checkpoint(save)
    assert seen == [(temporary_name(save), False)]
    assert problem(save) == "there is no such file"
