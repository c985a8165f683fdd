"""The steps of LightningCLI that have no hook."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml  # type: ignore[import-untyped]
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from dpo_lightning.compat.jsonargparse import defaults_of_their_own

CLI = TypeVar("CLI", bound=LightningCLI)


class CheckedCheckpointCLI(LightningCLI):
    """A LightningCLI that asks before it reads settings from a checkpoint, and takes them as defaults.

    Touches `LightningCLI._parse_ckpt_path`, which lets a checkpoint's settings override config and flags, without a
    switch. Where it changes, that comes back.
    """

    @property
    def words(self) -> list[str] | None:
        """Words of the command line; None of a command that was given its settings in Python."""
        return list(self._words) if isinstance(self._words, list) else None

    def reads_settings_of(self, path: str | None) -> bool:
        """Return whether settings are taken from the checkpoint at `ckpt_path`; may refuse it."""
        raise NotImplementedError

    def settings_in(self, path: str) -> dict[str, Any]:
        """Return the constructor arguments of the model that a checkpoint holds, as a config has them."""
        saved = torch.load(path, weights_only=True, map_location="cpu", mmap=True).get("hyper_parameters", {})
        return {name: value for name, value in saved.items() if not name.startswith("_")}

    def required_in(self, path: str) -> dict[str, Any]:
        """Return those arguments of a checkpoint's model without which a command does not parse."""
        return {}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and keep the words; what is required may come from the checkpoint of an evaluation."""
        self._words = sys.argv[1:] if args is None else args
        path = None if isinstance(self._words, str | Mapping) else _evaluated(list(self._words))
        required = {} if path is None else self.required_in(path)
        if not required:
            super().parse_arguments(parser, args)
            return
        model = {"class_path": f"{self._model_class.__module__}.{self._model_class.__qualname__}"}
        with _after_command(list(self._words), {"model": {**model, "init_args": required}}) as words:
            super().parse_arguments(parser, words)

    def _parse_ckpt_path(self) -> None:
        command = self.config["subcommand"]
        path = self.config[command].get("ckpt_path")
        file = path if path and Path(path).is_file() else None
        if self.reads_settings_of(file) and file is not None:
            self._parse_over(command, self.settings_in(file))

    def _parse_over(self, command: str, settings: Mapping[str, Any]) -> None:
        """Parse once more, over settings that stand for a first config: each later word wins."""
        asked = self.config[command].get("model")
        kind = asked.get("class_path") if hasattr(asked, "get") else None
        defaults = {"model": {"class_path": kind, "init_args": dict(settings)} if kind else dict(settings)}
        words = self._words
        if isinstance(words, str) or not isinstance(words, Sequence):
            self.config = self.parser.parse_object(words, self.parser.parse_object({command: defaults}))
            return
        with _after_command(list(words), defaults) as extended, defaults_of_their_own():
            self.config = self.parser.parse_args(extended)
            del self.config[command]["config"][0]  # it is gone by the time that anybody could read it


def _command(words: list[str]) -> str | None:
    return next((word for word in words if word in LightningCLI.subcommands()), None)


def _evaluated(words: list[str]) -> str | None:
    """Return the checkpoint file of a command that does not train, as flags and configs name it."""
    command, path = _command(words), None
    if command in (None, "fit"):
        return None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, _, value = word.partition("=")
        value = value or following
        if option == "--ckpt_path":
            path = value
        elif option in ("--config", "-c"):
            path = _path_in_config(value, str(command)) or path
    return path if path and Path(path).is_file() else None


def _path_in_config(file: str, command: str) -> str | None:
    """Return the `ckpt_path` of a config; None where the parser will say what is wrong with it."""
    try:
        config = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        path = {**config, **config.get(command, {})}.get("ckpt_path")
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return None
    return path if isinstance(path, str) else None


@contextmanager
def _after_command(words: list[str], settings: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the words with the settings as their first config: each later word wins."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "checkpoint.yaml")
        file.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
        place = words.index(str(_command(words))) + 1
        yield [*words[:place], f"--config={file}", *words[place:]]


class NotRunning(LightningCLI):
    """A LightningCLI that parses and builds, and neither seeds nor runs.

    Touches `LightningCLI._set_seed` and `_run_subcommand`: with its public `run=False` there are no subcommands, and
    the configs of `fit` do not parse. Where these change, `plan` and `sweep` would start a run.
    """

    def _set_seed(self) -> None:
        """Leave the random numbers alone."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""


class ParsingOnly(NotRunning):
    """A LightningCLI that parses, and neither seeds, nor builds, nor runs."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


def parser_of_command(cli: LightningCLI, command: str) -> LightningArgumentParser:
    """Return the parser of one of a CLI's commands.

    Touches `LightningCLI._subcommand_parsers`. Where it changes, the help of the commands cannot be generated.
    """
    return cli._subcommand_parsers[command]


def with_one_command(cli: type[CLI], args: Sequence[str] | None) -> type[CLI]:
    """Return a CLI that has the command alone which its words begin with; the parser of each takes a tenth of a second.

    Overrides `LightningCLI.subcommands`, which is public; where it is no longer asked, all parsers are built again.

    Args:
        cli: The CLI.
        args: Its words; None for those of the process.
    """
    words = sys.argv[1:] if args is None else args
    commands = cli.subcommands()
    if not words or words[0] not in commands:
        return cli
    one = {words[0]: commands[words[0]]}
    return type(cli.__name__, (cli,), {"__doc__": cli.__doc__, "subcommands": staticmethod(lambda: one)})
