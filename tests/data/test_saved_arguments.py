"""A DataModule that saves its arguments gives no secret away, and runs no code when it is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger

from dpo_lightning import PreferenceDataModule
from dpo_lightning.errors import InputError
from tests.helpers.runs import module, trainer, write_rows
from tests.helpers.saved import TouchesAFile
from tests.helpers.tiny import tiny_tokenizer

_BUILDER = "lightning.pytorch.cli.instantiate_module"


class KeyedData(PreferenceDataModule):
    """A project's data with its arguments saved."""

    def __init__(self, dataset: str, password: str, **settings: Any) -> None:
        super().__init__(dataset, **settings)
        self.save_hyperparameters(ignore=["tokenizer"])


def test_no_secret_of_the_data_is_held_or_logged(tmp_path: Path) -> None:
    own = {"tokenizer": tiny_tokenizer(), "val_split": "train[:8]", "batch_pairs": 4}
    rows = KeyedData(write_rows(tmp_path / "pairs.jsonl"), "s3cretword", **own)
    logger = CSVLogger(tmp_path)
    fit = trainer(max_steps=1, logger=logger)
    fit.fit(module(), rows)
    fit.save_checkpoint(tmp_path / "step=1.ckpt")
    saved = torch.load(tmp_path / "step=1.ckpt", weights_only=False)
    written = (Path(logger.log_dir) / "hparams.yaml").read_text()
    assert saved["datamodule_hyper_parameters"]["password"] == "***"
    assert "s3cretword" not in written
    again = KeyedData.load_from_checkpoint(tmp_path / "step=1.ckpt", password="new", tokenizer=tiny_tokenizer())
    assert again.hparams["password"] == "new"
    assert again.dataset == rows.dataset


def test_a_checkpoint_whose_data_names_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'marker')!r}).touch()\nclass Thing: ...\n"
    (tmp_path / "evil_data_settings.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    named = {"dataset": "x", "format": {"class_path": "evil_data_settings.Thing"}}
    for builds in ({"_instantiator": _BUILDER}, {}):
        content = {"state_dict": {}, "pytorch-lightning_version": "2.6.0"}
        torch.save({**content, "datamodule_hyper_parameters": {**named, **builds}}, tmp_path / "evil.ckpt")
        with pytest.raises(InputError):
            PreferenceDataModule.load_from_checkpoint(tmp_path / "evil.ckpt")
        assert not (tmp_path / "marker").exists()
        assert "evil_data_settings" not in sys.modules
    (tmp_path / "hparams.yaml").write_text(yaml.safe_dump({**named, "_instantiator": _BUILDER}))
    (tmp_path / "hparams.csv").write_text(f"key,value\n_instantiator,{_BUILDER}\n")
    torch.save(content, tmp_path / "good.ckpt")
    for file in ("hparams.yaml", "hparams.csv"):
        with pytest.raises(InputError, match=f"hparams_file .*{file}: the arguments of its data may name any class"):
            PreferenceDataModule.load_from_checkpoint(tmp_path / "good.ckpt", hparams_file=tmp_path / file)
        assert not (tmp_path / "marker").exists()
    torch.save({"state_dict": TouchesAFile(tmp_path / "marker")}, tmp_path / "evil.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):
        PreferenceDataModule.load_from_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "marker").exists()
