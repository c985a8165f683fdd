"""A checkpoint that `last` finds is read in full once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.strategies import ModelParallelStrategy

from dpo_lightning.callbacks import ResumableCheckpoint, checkpoint
from dpo_lightning.checkpoints import DurableCheckpointIO, integrity, io
from dpo_lightning.checkpoints.directory import newest_good
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.saved import content, flip, forked, reports


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file or directory that was read in full."""
    found: list[Path] = []
    damage = integrity.damage

    def counted(path: Any) -> str | None:
        found.append(Path(path))
        return damage(path)

    for place in (integrity, io, checkpoint):
        monkeypatch.setattr(place, "damage", counted)
    return found


def run(path: Path, steps: int, ckpt_path: str | None = "last", **settings: Any) -> None:
    saving = ResumableCheckpoint(str(path / "saved"), 1)
    fit = trainer(callbacks=[saving], max_steps=steps, enable_checkpointing=True, **settings)
    fit.fit(module(saved_model(path / "model")), data(path), ckpt_path=ckpt_path)


@pytest.mark.filterwarnings("ignore:.*there is no last checkpoint available:UserWarning")
def test_the_last_file_is_examined_once(tmp_path: Path, examined: list[Path]) -> None:
    run(tmp_path, 2)
    assert examined == []
    run(tmp_path, 3)
    assert examined == [tmp_path / "saved/step=2.ckpt"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_that_is_named_is_examined_too(tmp_path: Path, examined: list[Path]) -> None:
    run(tmp_path, 2)
    run(tmp_path, 3, ckpt_path=str(tmp_path / "saved/step=2.ckpt"))
    assert examined == [tmp_path / "saved/step=2.ckpt"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_last_directory_of_shards_is_examined_once(tmp_path: Path, examined: list[Path]) -> None:
    def fits(report: Any) -> None:
        os.environ["MASTER_PORT"] = "0"
        for steps in (2, 3):
            strategy = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)
            run(tmp_path, steps, strategy=strategy)
        report(str([path.name for path in examined]))

    assert reports(*forked(fits)) == ["['step=2.ckpt']"]


def test_a_finding_is_of_one_file_in_one_state_and_for_one_load(tmp_path: Path) -> None:
    plugin = DurableCheckpointIO()
    first, second = tmp_path / "step=1.ckpt", tmp_path / "step=2.ckpt"
    for step, path in enumerate((first, second), start=1):
        plugin.save_checkpoint(content(step), path)
    found = newest_good(tmp_path)
    assert found is not None
    assert found.is_still(second)
    assert not found.is_still(first)
    plugin.examined = found
    plugin.load_checkpoint(second)
    assert plugin.examined is None
    flip(second, second.read_bytes().index(content(2)["state_dict"]["policy.weight"].numpy().tobytes()) + 1000, 6)
    os.utime(second, ns=(0, found.stamps["."][2] + 1))
    plugin.examined = found
    with pytest.raises(InputError, match="is corrupt"):
        plugin.load_checkpoint(second)
