"""What callbacks get where the run's module, or its DataModule, is none of ours."""

from __future__ import annotations

import re
from pathlib import Path

import lightning.pytorch as pl
import pytest

import dpo_lightning
from dpo_lightning import Precomputed, SimPO
from dpo_lightning.errors import InputError
from dpo_lightning.run import PreferenceRun, reference_in_the_step, run_of, source_of
from tests.helpers.runs import data, module, trainer


def test_a_module_of_ours_is_a_run() -> None:
    fitted = module()

    assert isinstance(fitted, PreferenceRun)
    assert run_of(fitted, "Export") is fitted


def test_another_module_is_refused_by_the_callbacks_name() -> None:
    with pytest.raises(InputError, match=r"^Export works with a PreferenceModule, and the run's module is Lightning"):
        run_of(pl.LightningModule(), "Export")


def test_the_data_of_a_run_are_known_where_they_are_ours(tmp_path) -> None:
    asked = []

    class Asks(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            asked.append(source_of(trainer))

    source = data(tmp_path)
    trainer(max_steps=1, callbacks=[Asks()]).fit(module(), source)
    source.setup("fit")
    trainer(max_steps=1, callbacks=[Asks()]).fit(module(), source.train_dataloader())

    assert asked == [source, None]


def test_a_step_scores_a_reference_that_is_not_scored_before() -> None:
    assert reference_in_the_step(module())
    assert not reference_in_the_step(module(reference=Precomputed()))
    assert not reference_in_the_step(module(objective=SimPO()))


def test_one_place_tells_our_data_from_others() -> None:
    files = Path(dpo_lightning.__file__).parent.rglob("*.py")

    asking = [file.name for file in files if re.search(r"isinstance\(.*PreferenceSource", file.read_text("utf-8"))]
    assert asking == ["run.py"]
