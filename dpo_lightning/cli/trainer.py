"""The Trainer's commands: LightningCLI, with short class names and errors of one line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info

import dpo_lightning
from dpo_lightning import callbacks, report
from dpo_lightning.callbacks import WriteRewards
from dpo_lightning.checkpoints import load_plain, refuse_damaged
from dpo_lightning.cli.parser_errors import explain
from dpo_lightning.data import PreferenceDataModule
from dpo_lightning.module import PreferenceModule
from dpo_lightning.training import schedules

_CLASSES = [*dpo_lightning.__all__, *callbacks.__all__, *report.__all__, *schedules.__all__]


class OneLineParser(LightningArgumentParser):
    """Refuses abbreviated keys, and answers a wrong one with one line that names the nearest right one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the line and exit 2; inside a nested value, raise to the parser around it."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        keys = [option.removeprefix("--") for option in parser._option_string_actions]
        self.exit(2, f"error: {explain(message, keys, _CLASSES)}\n")
        raise SystemExit(2)


class SaveFitConfig(SaveConfigCallback):
    """Saves the config of a fit. Another command's would overwrite it, and does not load in `fit`."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Save in `fit` only."""
        if stage == "fit":
            super().setup(trainer, pl_module, stage)


class PreferenceCLI(LightningCLI):
    """`fit | validate | test | predict`, for `PreferenceModule` and `PreferenceDataModule` or subclasses of them."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what concerns the process."""
        parser.add_argument(
            "--torch_threads",
            type=Optional[int],
            default=None,
            help="Threads of torch on a CPU; 1 is fastest for tiny models. null leaves torch's own number.",
        )

    def before_instantiate_classes(self) -> None:
        """Set the threads before anything is computed; a rank is to end with the process that started it."""
        if "LOCAL_RANK" in os.environ and sys.platform == "linux":
            # Or it would wait for the others until the process group's timeout, and hold its GPU.
            torch.multiprocessing._prctl_pr_set_pdeathsig(signal.SIGKILL)  # type: ignore[attr-defined]
        threads = self._get(self.config, "torch_threads")
        if threads is not None:
            torch.set_num_threads(threads)

    def _parse_ckpt_path(self) -> None:
        """In `fit`, keep config and flags as they are: Lightning would let a checkpoint's settings override them.

        Raises:
            InputError: for a checkpoint from which Lightning would try to read settings, and cannot.
        """
        command = self.config.get("subcommand")
        if command == "fit":
            return
        path = self.config[command].get("ckpt_path")
        if path and Path(path).is_file():
            refuse_damaged(Path(path), path)
            load_plain(Path(path), path, mmap=True)
        super()._parse_ckpt_path()

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
    """Run `fit`, `validate`, `test` or `predict`, from the command line with ``None``; exits 2 on a wrong key."""
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
