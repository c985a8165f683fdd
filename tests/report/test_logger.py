"""The logger draws a fit, and leaves its picture alone otherwise."""

from __future__ import annotations

import errno
import os
from unittest.mock import Mock

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.report import PlotLogger
from tests.helpers.runs import data, module, trainer
from tests.report.png import size


def test_the_logger_draws_what_a_fit_logged(tmp_path):
    logger = PlotLogger(str(tmp_path / "curves.png"))
    trainer(logger=logger, max_steps=6).fit(module(), data(tmp_path))
    assert [step for step, _ in logger.history["train/loss"]] == [0, 1, 2, 3, 4, 5, 6]
    assert [step for step, _ in logger.history["val/rewards/accuracies"]] == [6]
    assert size(tmp_path / "curves.png")[0] == 1200


def test_a_validation_leaves_the_picture_of_the_fit(tmp_path):
    path = tmp_path / "curves.png"
    trainer(logger=PlotLogger(str(path))).validate(module(), data(tmp_path), verbose=False)
    assert not path.exists()


def test_a_picture_that_cannot_be_written_hides_no_error(tmp_path, monkeypatch):
    logger = PlotLogger(str(tmp_path / "curves.png"))
    logger.log_metrics({"train/loss": 0.5}, step=0)
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.warns(UserWarning, match="curves.png could not be written: No space left on device: the run goes on"):
        logger.finalize("failed")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("path", ["curves.svg", "curves.PDF"])
def test_a_picture_of_another_kind_is_refused(path: str) -> None:
    with pytest.raises(InputError, match=r"^PlotLogger\.path: the picture is a PNG, got 'curves\.\w+': let its name"):
        PlotLogger(path)
