"""The config of a fit is saved when it trains, and nowhere else."""

from pathlib import Path

import pytest

from dpo_lightning import PlotLogger
from dpo_lightning.cli.fit_config import SaveFitConfig
from dpo_lightning.cli.trainer import OneLineParser
from tests.helpers.runs import module, trainer


@pytest.mark.parametrize("stage", ["fit", "validate", "predict"])
def test_the_config_of_a_fit_is_saved_when_it_trains_and_no_other(tmp_path: Path, stage: str) -> None:
    parser = OneLineParser()
    parser.add_argument("--steps", type=int)
    saving = SaveFitConfig(parser, parser.parse_args(["--steps=3"]))
    run, policy = trainer(default_root_dir=tmp_path), module()

    saving.setup(run, policy, stage)
    assert not [*tmp_path.iterdir()]

    if stage == "fit":
        for batch in range(2):
            saving.on_train_batch_start(run, policy, None, batch)
        assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
        assert (tmp_path / "config.yaml").read_text() == "steps: 3\n"


def test_the_config_is_saved_where_no_logger_keeps_files(tmp_path: Path) -> None:
    parser = OneLineParser()
    parser.add_argument("--steps", type=int)
    logger = PlotLogger(str(tmp_path / "curves.png"))
    saving = SaveFitConfig(parser, parser.parse_args(["--steps=3"]))
    saving.on_train_batch_start(trainer(default_root_dir=tmp_path / "run", logger=logger), module(), None, 0)
    assert (tmp_path / "run/config.yaml").read_text() == "steps: 3\n"
