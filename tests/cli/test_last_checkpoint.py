"""The last checkpoint, where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning import InputError, ResumableCheckpoint
from dpo_lightning.cli.last_checkpoint import LastOrNothing, expect_last
from tests.helpers.runs import data, module, trainer


def run(callback: Any, **settings: Any) -> Any:
    made = trainer(callbacks=[callback], enable_checkpointing=True, **settings)
    expect_last(made)
    return made


def test_a_fit_begins_and_says_so_and_goes_on_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = f"ckpt_path last: there is no checkpoint in {tmp_path / 'saved'}: the run begins from scratch"
    with caplog.at_level("INFO"):
        first = run(ResumableCheckpoint(str(tmp_path / "saved")), max_steps=2)
        first.fit(module(), data(tmp_path), ckpt_path="last")
        assert caplog.messages.count(line) == 1
        second = run(ResumableCheckpoint(str(tmp_path / "saved")), max_steps=3)
        second.fit(module(), data(tmp_path), ckpt_path="last")

    assert caplog.messages.count(line) == 1
    assert (first.global_step, second.global_step) == (2, 3)


@pytest.mark.parametrize("what", ["validate", "test", "predict"])
def test_nothing_is_evaluated_as_the_last_checkpoint(what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no checkpoint in .*saved: give the file of one, or leave"):
        getattr(run(ResumableCheckpoint(str(tmp_path / "saved"))), what)(module(), data(tmp_path), ckpt_path="last")


def test_a_run_that_saves_where_no_later_one_looks_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    for callback in (ModelCheckpoint(), LastOrNothing()):
        with pytest.raises(InputError, match="give the checkpoint's file, or add the callback ResumableCheckpoint"):
            run(callback)
    for found in (ModelCheckpoint(str(tmp_path)), ModelCheckpoint(save_last=True)):
        assert isinstance(run(found).callbacks[-1], LastOrNothing)
