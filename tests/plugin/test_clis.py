"""A LightningCLI of one's own, with our classes or in the place of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch.utils.data import DataLoader

from dpo_lightning import PreferenceDataModule, PreferenceModule, TokenizedExample
from dpo_lightning.batch import collate_padded
from dpo_lightning.cli.trainer import OneLineParser, PreferenceCLI
from tests.helpers.runs import saved_model, write_rows

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`", "ignore:LightningCLI's args")


class Plain(pl.LightningDataModule):
    """A DataModule that knows nothing of ours."""

    def __init__(self, count: int = 4) -> None:
        super().__init__()
        self.count = count

    def train_dataloader(self) -> DataLoader[Any]:
        pairs = [TokenizedExample.pair(i, [1, 2 + i], [5, 6], [7]) for i in range(self.count)]
        return DataLoader(pairs, batch_size=2, collate_fn=collate_padded)

    val_dataloader = train_dataloader


class Other(pl.LightningModule):
    """A module that knows nothing of ours, and counts what it gets."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.pairs = 0
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.pairs += batch.examples

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing to do."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, list[str]]:
    model = saved_model(tmp_path / "model")
    rows = write_rows(tmp_path / "pairs.jsonl")
    quiet = [
        "accelerator=cpu",
        "devices=1",
        "logger=false",
        "enable_checkpointing=false",
        "max_steps=2",
        "log_every_n_steps=1",
    ]
    quiet += [
        "log_every_n_steps=1",
        "enable_progress_bar=false",
        "enable_model_summary=false",
        f"default_root_dir={tmp_path}",
    ]
    return {
        "trainer": [f"--trainer.{each}" for each in quiet],
        "model": [f"--model.policy={model}"],
        "data": [f"--data.dataset={rows}", f"--data.tokenizer={model}", "--data.batch_pairs=4"],
    }


def test_a_cli_of_ones_own_with_our_classes(flags):
    class Own(LightningCLI):
        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.add_argument("--note", default="")

    cli = Own(
        PreferenceModule,
        PreferenceDataModule,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=None,
        args=["fit", "--note=mine", *flags["trainer"], *flags["model"], *flags["data"]],
    )
    assert cli.trainer.global_step == 2
    assert cli.config["fit"]["note"] == "mine"


def test_our_module_with_another_data_module(flags):
    cli = LightningCLI(
        PreferenceModule,
        Plain,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=None,
        args=["fit", *flags["trainer"], "--trainer.val_check_interval=1", *flags["model"], "--data.count=6"],
    )
    assert cli.trainer.global_step == 2
    assert {"train/loss", "val/loss"} <= cli.trainer.callback_metrics.keys()


def test_another_module_with_our_data_module(flags):
    cli = LightningCLI(
        Other,
        PreferenceDataModule,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=None,
        args=["fit", *flags["trainer"], "--trainer.limit_train_batches=2", "--trainer.max_epochs=1", *flags["data"]],
    )
    assert cli.model.pairs == 8


def test_a_cli_that_does_not_run(flags):
    cli = LightningCLI(
        PreferenceModule,
        PreferenceDataModule,
        run=False,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=None,
        args=[*flags["trainer"], *flags["model"], *flags["data"]],
    )
    assert cli.trainer.global_step == 0
    cli.trainer.fit(cli.model, cli.datamodule)
    assert cli.trainer.global_step == 2


def test_classes_by_name(flags, monkeypatch):
    module = sys.modules[__name__]
    for subclass_of in (LightningCLI, PreferenceCLI):
        cli = subclass_of(
            PreferenceModule,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=None,
            args=[
                "fit",
                *flags["trainer"],
                "--model=dpo_lightning.PreferenceModule",
                *flags["model"],
                f"--data={module.__name__}.Plain",
                "--data.count=6",
            ],
        )
        assert type(cli.datamodule) is Plain
        assert cli.trainer.global_step == 2


def test_several_sets_from_a_config(flags, tmp_path):
    config = tmp_path / "sets.yaml"
    config.write_text(
        "data:\n  val_split:\n    in_domain: train[:6]\n    held_out: 0.25\n  test_split: {only: 'train[:4]'}\n"
    )
    settings = {"seed_everything_default": 0, "auto_configure_optimizers": False, "save_config_callback": None}
    given = ["--config", str(config), *flags["trainer"], *flags["model"], *flags["data"]]
    for command, stage, names in (
        ("fit", "val", ("in_domain/", "held_out/", "")),
        ("validate", "val", ("in_domain/", "held_out/", "")),
        ("test", "test", ("only/", "")),
    ):
        cli = LightningCLI(PreferenceModule, PreferenceDataModule, **settings, args=[command, *given])
        if command == "fit":
            cli.trainer.validate(cli.model, cli.datamodule, verbose=False)
        assert {f"{stage}/{name}loss" for name in names} <= cli.trainer.callback_metrics.keys()
    predicted = LightningCLI(PreferenceModule, PreferenceDataModule, **settings, args=["predict", *given])
    assert predicted.trainer.global_step == 0


@pytest.mark.parametrize(("parser", "warmup", "beta"), [(LightningArgumentParser, 0, 0.1), (OneLineParser, 0.1, 2.0)])
def test_a_class_in_the_place_of_the_default(flags, parser, warmup, beta):
    cli = LightningCLI(
        PreferenceModule,
        PreferenceDataModule,
        run=False,
        parser_class=parser,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=None,
        args=[*flags["trainer"], *flags["model"], *flags["data"], "--model.schedule=Cosine", "--model.objective=SimPO"],
    )
    assert isinstance(cli.model.hparams["schedule"], dict)
    assert cli.model.hparams["schedule"]["init_args"].get("warmup", 0.1) == warmup
    assert cli.model.objective.beta == beta
