"""The means of a stage, as they are logged."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger

from dpo_lightning import UnpairedBCO
from tests.data.formats.test_unpaired import data
from tests.helpers.runs import module, trainer


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_an_interval_without_one_label_logs_nothing_about_it(tmp_path: Path) -> None:
    found = [
        {"prompt": f"{word}:", "completion": " yes", "label": number >= 4} for number, word in enumerate("abcdefgh")
    ]
    logger = CSVLogger(str(tmp_path))
    source = data(tmp_path, found, batch_pairs=4)
    ordered = trainer(max_steps=2, logger=logger, overfit_batches=1.0)  # in the order of the data
    ordered.fit(module(objective=UnpairedBCO()), source)

    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["train/rewards/chosen"] == ""
    assert "train/rewards/margins" not in first
    assert float(first["train/rewards/rejected"]) == pytest.approx(0, abs=1e-6)
    assert second["train/rewards/rejected"] == ""
    assert math.isfinite(float(second["train/rewards/chosen"]))
    assert "nan" not in {*first.values(), *second.values()}
