"""The Trainer's commands: LightningCLI, with short class names and errors of one line."""

from __future__ import annotations

import os
import pydoc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional, cast

import lightning.pytorch as pl
import torch
from fsspec import get_filesystem_class
from fsspec.utils import get_protocol
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities import rank_zero_info

import dpo_lightning
from dpo_lightning import PreferenceDataModule, PreferenceModule, WriteRewards
from dpo_lightning.checkpoints import load_plain, refuse_damaged, refuse_others
from dpo_lightning.checkpoints.constructors import arguments_of
from dpo_lightning.checkpoints.contents import HYPER_PARAMETERS
from dpo_lightning.checkpoints.hyperparameters import logged_hyperparameters
from dpo_lightning.checkpoints.plain_form import public_path
from dpo_lightning.checkpoints.settings import RESUME
from dpo_lightning.checkpoints.trust import refuse_code_settings, refuse_unknown_classes, saved_arguments
from dpo_lightning.cli.config_files import check_config
from dpo_lightning.cli.fit_config import SaveFitConfig, saved_config
from dpo_lightning.cli.fit_report import report_of_fit, report_of_stop
from dpo_lightning.cli.last_checkpoint import expect_last
from dpo_lightning.cli.parser_errors import explain
from dpo_lightning.cli.places import check_places, check_unused
from dpo_lightning.cli.quiet import leave_out_noise, parsing_quietly
from dpo_lightning.cli.run_end import SaysHowToGoOn, end_of_fit
from dpo_lightning.cli.same_weights import same_weights
from dpo_lightning.cli.trainer_settings import LOG_EVERY_N_STEPS, limit_epochs, with_progress, with_record
from dpo_lightning.cli.values import check_values, refusals_of_others
from dpo_lightning.compat.jsonargparse import booleans_as_written, defaults_of_their_own, option_names
from dpo_lightning.compat.lightning_cli import CheckedCheckpointCLI, with_one_command
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import is_local
from dpo_lightning.utils.processes import end_with_parent
from dpo_lightning.utils.secrets import masked, masked_places
from dpo_lightning.utils.text import shown

_FOUND_LATER = ("last", "best", "hpc")  # words in the place of a path
_CLASSES = [name for name in dpo_lightning.__all__ if isinstance(getattr(dpo_lightning, name), type)]  # loads them


class OneLineParser(LightningArgumentParser):
    """Refuses abbreviated keys, and answers a wrong one with one line that names the nearest right one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse words; a class in the place of another one has its own defaults, and a bool is `true` or `false`."""
        with defaults_of_their_own(), booleans_as_written():
            return super().parse_args(*args, **kwargs)

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Parse a config file, after a look at how it is written."""
        check_config(path)
        return super().parse_path(path, *args, **kwargs)

    def parse_object(self, *args: Any, **kwargs: Any) -> Any:
        """Parse a mapping alike."""
        with defaults_of_their_own(), booleans_as_written():
            return super().parse_object(*args, **kwargs)

    def dump(self, cfg: Any, *args: Any, **kwargs: Any) -> str:
        """Write a config without the secrets in it: what `--print_config` shows and a run saves."""
        safe = cfg.clone()
        for key, value in list(safe.items()):
            name = key.rpartition(".")[2]
            safe[key] = masked({name: value})[name]
        return super().dump(safe, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the line and exit 2; inside a nested value, raise to the parser around it."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        self.exit(2, f"error: {shown(explain(message, option_names(parser), _CLASSES))}\n")
        raise SystemExit(2)


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
        with parsing_quietly():
            super().parse_arguments(parser, args)
        leave_out_noise()  # which loads what a help text does not need
        check_values(self.config[self.config["subcommand"]].as_dict())

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Build the Trainer, with a line of progress, and of a fit the record."""
        settings = self.config_init[self.config["subcommand"]]["trainer"]
        callbacks, self._end = with_progress(settings), SaysHowToGoOn()
        if self.config["subcommand"] == "fit":
            callbacks = [*with_record(callbacks, self.words), self._end]
        return super().instantiate_trainer(callbacks=callbacks, **kwargs)

    def instantiate_classes(self) -> None:
        """Build module, data and Trainer; what their classes refuse is one line with the key."""
        with refusals_of_others(self.config[self.config["subcommand"]].as_dict()):
            super().instantiate_classes()
        if self.config["subcommand"] == "predict":
            self.before_predict()
        fitting = self.config["subcommand"] == "fit"
        asked = self.config[self.config["subcommand"]].get("ckpt_path")
        if fitting and asked is None:
            check_unused(self.trainer)
        check_places(self.trainer, self.model, fitting=fitting)
        if asked == "last":
            expect_last(self.trainer)
        note = None if fitting else same_weights(self.model, asked)
        if note is not None:
            rank_zero_info(note)

    def before_instantiate_classes(self) -> None:
        """Set the threads before anything is computed; a rank is to end with the process that started it."""
        if "LOCAL_RANK" in os.environ:
            # Or it would wait for the others until the process group's timeout, and hold its GPU.
            end_with_parent()
        refuse_masked(self.config[self.config["subcommand"]].as_dict())
        if self.config["subcommand"] == "fit":
            limit_epochs(self.config["fit"]["trainer"])
        threads = self.config[self.config["subcommand"]].get("torch_threads")
        if threads is not None:
            torch.set_num_threads(threads)

    def reads_settings_of(self, path: str | None) -> bool:
        """Keep config and flags of `fit` as they are: Lightning would let a checkpoint's settings override them.

        Raises:
            InputError: for a checkpoint from which Lightning would try to read settings, and cannot.
        """
        refuse_unreachable(self.config[self.config["subcommand"]].get("ckpt_path"))
        if self.config["subcommand"] == "fit":
            self._check_resumed(self.config["fit"])
            return False
        if path is not None:
            refuse_damaged(Path(path), path)
            saved = load_plain(Path(path), path, mmap=True)
            refuse_others(saved, path)
            self._refuse_code_of(saved, path)
        return True

    def _check_resumed(self, config: Any) -> None:
        """Find out that a fit cannot go on from a path before it saves its config over that of an earlier one."""
        path = config.get("ckpt_path")
        if path is not None and not path.strip():
            raise InputError("ckpt_path is empty: give a checkpoint, last, or null for a run from the start")
        if not path or path in _FOUND_LATER or path.startswith("registry") or not is_local(path):
            return
        file = Path(path)
        if not file.exists() or (file.is_dir() and not any(file.iterdir())):
            raise InputError(f"checkpoint {path}: there is no such file: take another one")
        if file.is_file() and config.get("weights_only") is not False:
            try:
                saved = load_plain(file, path, mmap=True)
            except Exception:  # a changed byte may raise anything; all of them are compared where it is read
                refuse_damaged(file, path)
                raise
            refuse_others(saved, path)

    def required_in(self, path: str) -> dict[str, Any]:
        """Return the name of the checkpoint's policy: an evaluation need not say it again.

        Raises:
            InputError: for a checkpoint that cannot be read, and a name that is none.
        """
        refuse_damaged(Path(path), path)
        read = load_plain(Path(path), path, mmap=True)
        refuse_others(read, path)
        saved = read.get(HYPER_PARAMETERS, {})
        named = {"policy": saved["policy"]} if isinstance(saved.get("policy"), str) else {}
        refuse_unknown_classes(named, PreferenceModule, f"checkpoint {path}", "name it as --model.{argument}")
        return named

    def settings_in(self, path: str) -> dict[str, Any]:
        """Return a checkpoint's arguments as defaults of the command: what a config or a flag says wins over them.

        Raises:
            InputError: for a checkpoint of a subclass that the command does not name.
        """
        saved = load_plain(Path(path), path, mmap=True).get(HYPER_PARAMETERS, {})
        own = _path_of(PreferenceModule)
        asked = self.config[self.config["subcommand"]]["model"]["class_path"]
        kind: Any = pydoc.locate(asked)
        was = saved.get("_class_path", own)
        if _path_of(kind) == own and was not in (own, public_path(PreferenceModule)):
            raise InputError(f"checkpoint {path} is of the class {was}: say so, with --model={was}")
        plain = logged_hyperparameters(saved, kind)
        return {name: value for name, value in plain.items() if name in arguments_of(kind) and name != RESUME}

    def _refuse_code_of(self, saved: dict[str, Any], path: str) -> None:
        """Take no code from a checkpoint's settings but what config and flags name as well."""
        model = self.config[self.config["subcommand"]].get("model")
        owner = PreferenceModule if model is None else cast(type, pydoc.locate(model.class_path))
        said = {} if model is None else model.as_dict().get("init_args", {})
        settings = saved_arguments(saved, owner, path)
        refuse_code_settings(settings, said, f"checkpoint {path}")
        refuse_unknown_classes(settings, owner, f"checkpoint {path}", "name it as --model.{argument}, or in a config")

    def before_fit(self) -> None:
        """Look at the clock."""
        self._began = time.monotonic()

    def fit(self, **settings: Any) -> None:
        """Fit; a fit that is stopped, or fails, leaves its page as well, after its checkpoint."""
        try:
            self.trainer.fit(**settings)
        except BaseException:
            if self.trainer.is_global_zero and self._end.config is not None:
                report_of_stop(self._end.config.parent)
            raise

    def after_fit(self) -> None:
        """Say how the run went, where everything lies, and the next commands."""
        config = saved_config(self.trainer)
        if self.trainer.is_global_zero:
            report_of_fit(config.parent, self.datamodule, self.model)
        for line in end_of_fit(self.trainer, config, time.monotonic() - self._began):
            rank_zero_info(line)

    def before_predict(self) -> None:
        """Write the rewards to a file, since the command returns nothing."""
        callbacks: list[pl.Callback] = cast(Any, self.trainer).callbacks
        if not any(isinstance(callback, WriteRewards) for callback in callbacks):
            callbacks.append(WriteRewards())


def refuse_unreachable(path: str | None) -> None:
    """Refuse a checkpoint in a file system that nothing here reads, before anything is loaded.

    Raises:
        InputError: naming the key.
    """
    if not path or path.startswith(("http://", "https://", "registry")) or is_local(path):
        return
    try:
        get_filesystem_class(get_protocol(path))
    except (ImportError, ValueError) as error:
        raise InputError(f"ckpt_path: {path}: {error}: or download it, and give the file") from None


def _path_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def refuse_masked(config: dict[str, Any]) -> None:
    """Refuse a saved config whose secrets are masked, and not given anew.

    Raises:
        InputError: naming the key and what to give.
    """
    for place in masked_places(config):
        variable = " in the environment variable HF_TOKEN, or" if place.endswith("token") else ""
        raise InputError(
            f"{place} is masked, since a saved config holds no secrets: leave it out and give the secret{variable} as "
            f"--{place}"
        )


def run_trainer(args: Sequence[str] | None, cli: type[PreferenceCLI] = PreferenceCLI) -> PreferenceCLI:
    """Run `fit`, `validate`, `test` or `predict`, from the command line with `None`; exits 2 on a wrong key."""
    return with_one_command(cli, args)(
        PreferenceModule,
        PreferenceDataModule,
        parser_class=OneLineParser,
        save_config_callback=SaveFitConfig,
        save_config_kwargs={"overwrite": True},
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        trainer_defaults={"log_every_n_steps": LOG_EVERY_N_STEPS, "enable_model_summary": False},
        args=None if args is None else list(args),
    )
