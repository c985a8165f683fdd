"""The Trainer's commands: LightningCLI, with short class names and errors of one line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info

import dpo_lightning
from dpo_lightning import PreferenceDataModule, PreferenceModule, WriteRewards
from dpo_lightning.checkpoints import load_plain, refuse_damaged
from dpo_lightning.cli.parser_errors import explain
from dpo_lightning.cli.places import check_places
from dpo_lightning.cli.values import check_values, refusals_of_others
from dpo_lightning.compat.jsonargparse import defaults_of_their_own, option_names
from dpo_lightning.compat.lightning_cli import CheckedCheckpointCLI
from dpo_lightning.utils.processes import end_with_parent

_CLASSES = [name for name in dpo_lightning.__all__ if name[0].isupper()]


class OneLineParser(LightningArgumentParser):
    """Refuses abbreviated keys, and answers a wrong one with one line that names the nearest right one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the line and exit 2; inside a nested value, raise to the parser around it."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        self.exit(2, f"error: {explain(message, option_names(parser), _CLASSES)}\n")
        raise SystemExit(2)


class SaveFitConfig(SaveConfigCallback):
    """Saves the config of a fit. Another command's would overwrite it, and does not load in `fit`."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Save in `fit` only."""
        if stage == "fit":
            super().setup(trainer, pl_module, stage)


class PreferenceCLI(CheckedCheckpointCLI):
    """`fit | validate | test | predict`, for `PreferenceModule` and `PreferenceDataModule` or subclasses of them."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what concerns the process."""
        parser.add_argument(
            "--torch_threads",
            type=Optional[int],
            default=None,
            help="Threads of torch on a CPU; 1 is fastest for tiny models. null leaves torch's own number.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Check values that the parser takes, before anything is made of them."""
        with defaults_of_their_own():
            super().parse_arguments(parser, args)
        check_values(self.config[self.config["subcommand"]].as_dict())

    def instantiate_classes(self) -> None:
        """Build module, data and Trainer; what their classes refuse is one line with the key."""
        with refusals_of_others(self.config[self.config["subcommand"]].as_dict()):
            super().instantiate_classes()
        if self.config["subcommand"] == "fit":
            check_places(self.trainer, self.model)

    def before_instantiate_classes(self) -> None:
        """Set the threads before anything is computed; a rank is to end with the process that started it."""
        if "LOCAL_RANK" in os.environ:
            # Or it would wait for the others until the process group's timeout, and hold its GPU.
            end_with_parent()
        threads = self.config[self.config["subcommand"]].get("torch_threads")
        if threads is not None:
            torch.set_num_threads(threads)

    def reads_settings_of(self, path: str | None) -> bool:
        """Keep config and flags of `fit` as they are: Lightning would let a checkpoint's settings override them.

        Raises:
            InputError: for a checkpoint from which Lightning would try to read settings, and cannot.
        """
        if self.config["subcommand"] == "fit":
            return False
        if path is not None:
            refuse_damaged(Path(path), path)
            load_plain(Path(path), path, mmap=True)
        return True

    def after_fit(self) -> None:
        """Say how the run ended on held-out pairs, and where its metrics lie."""
        metrics = self.trainer.callback_metrics
        if "val/loss" in metrics:
            rank_zero_info(
                f"held-out pairs: loss {metrics['val/loss']:.4f}, "
                f"reward accuracy {metrics['val/rewards/accuracies']:.4f}; metrics in {self.trainer.log_dir}"
            )

    def before_predict(self) -> None:
        """Write the rewards to a file, since the command returns nothing."""
        callbacks: list[pl.Callback] = cast(Any, self.trainer).callbacks
        if not any(isinstance(callback, WriteRewards) for callback in callbacks):
            callbacks.append(WriteRewards())


def run_trainer(args: Sequence[str] | None, cli: type[PreferenceCLI] = PreferenceCLI) -> PreferenceCLI:
    """Run `fit`, `validate`, `test` or `predict`, from the command line with `None`; exits 2 on a wrong key."""
    return cli(
        PreferenceModule,
        PreferenceDataModule,
        parser_class=OneLineParser,
        parser_kwargs={"epilog": "Beside these: dpo-lightning cache | export | plan, each with --help."},
        save_config_callback=SaveFitConfig,
        save_config_kwargs={"overwrite": True},
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        args=None if args is None else list(args),
    )
