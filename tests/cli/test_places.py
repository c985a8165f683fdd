"""Places that a run writes to, tried before it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from dpo_lightning import Export, PlotLogger, Precomputed, ResumableCheckpoint, SampleTable
from dpo_lightning.cli.places import check_places, check_unused
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, trainer


@pytest.fixture
def no_directory(tmp_path: Path) -> str:
    """A path whose parent is a file."""
    (tmp_path / "file").write_text("")
    return str(tmp_path / "file" / "inside")


@pytest.mark.parametrize(
    ("made", "place"),
    [
        (lambda path: {"callbacks": [ResumableCheckpoint(path)], "enable_checkpointing": True}, "Resumable.*dirpath"),
        (lambda path: {"callbacks": [ModelCheckpoint(path)], "enable_checkpointing": True}, "ModelCheckpoint.dirpath"),
        (lambda path: {"callbacks": [Export(path)]}, "Export.path"),
        (lambda path: {"callbacks": [Export("there", merged_path=path)]}, "Export.merged_path"),
        (lambda path: {"callbacks": [SampleTable(path)]}, "SampleTable.path"),
        (lambda path: {"logger": [CSVLogger(path)]}, "CSVLogger.save_dir"),
        (lambda path: {"logger": [PlotLogger(path)]}, "PlotLogger.path"),
        (lambda path: {"default_root_dir": path}, "trainer.default_root_dir"),
    ],
)
def test_a_place_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_directory: str, made: Any, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"^{place}: .* cannot be written: .*file is a file$"):
        check_places(trainer(**made(no_directory)), module())
    check_places(trainer(**made(str(tmp_path / "new" / "place"))), module())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"], "a check leaves nothing"


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(
        InputError, match=r"^trainer.default_root_dir: .*/loop is a link that leads nowhere: remove it$"
    ):
        check_places(trainer(default_root_dir=tmp_path / "loop"), module())
    (tmp_path / "table").symlink_to("new")  # where a file is written through it
    check_places(trainer(default_root_dir=tmp_path, callbacks=[SampleTable(str(tmp_path / "table"))]), module())


def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = trainer(callbacks=[ResumableCheckpoint(str(tmp_path / "file"))], enable_checkpointing=True)
    with pytest.raises(InputError, match=r"^ResumableCheckpoint\.dirpath: "):
        check_places(run, module())


def test_the_cache_of_the_reference_is_tried(no_directory: str) -> None:
    with pytest.raises(InputError, match=r"^model\.reference\.cache_dir: "):
        check_places(trainer(), module(reference=Precomputed(cache_dir=no_directory)))


def test_checkpoints_of_an_earlier_run_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    saving = ResumableCheckpoint(str(tmp_path / "saved"))
    check_unused(trainer(callbacks=[saving], enable_checkpointing=True))
    run = trainer(callbacks=[saving], enable_checkpointing=True, max_steps=2)
    run.fit(module(), data(tmp_path))
    again: dict[str, Any] = {"callbacks": [ResumableCheckpoint(str(tmp_path / "saved"))], "enable_checkpointing": True}
    with pytest.raises(
        InputError, match=r"saved/step=2\.ckpt is ahead of this run, .* `--ckpt_path last`, give another"
    ):
        check_unused(trainer(**again))
    check_unused(trainer(**again, fast_dev_run=True))
    (tmp_path / "hpc_ckpt_1.ckpt").touch()
    check_unused(trainer(**again, default_root_dir=tmp_path))
