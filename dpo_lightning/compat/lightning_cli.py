"""The steps of LightningCLI that have no hook."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI


class CheckedCheckpointCLI(LightningCLI):
    """A LightningCLI that asks before it reads settings from a checkpoint, and takes them as defaults.

    Touches `LightningCLI._parse_ckpt_path`, which lets a checkpoint's settings override config and flags, without a
    switch. Where it changes, that comes back.
    """

    def reads_settings_of(self, path: str | None) -> bool:
        """Return whether settings are taken from the checkpoint at `ckpt_path`; may refuse it."""
        raise NotImplementedError

    def settings_in(self, path: str) -> dict[str, Any]:
        """Return the constructor arguments of the model that a checkpoint holds, as a config has them."""
        saved = torch.load(path, weights_only=True, map_location="cpu", mmap=True).get("hyper_parameters", {})
        return {name: value for name, value in saved.items() if not name.startswith("_")}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and keep the words."""
        self._words = sys.argv[1:] if args is None else args
        super().parse_arguments(parser, args)

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
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "checkpoint.yaml")
            file.write_text(yaml.safe_dump(defaults), encoding="utf-8")
            place = list(words).index(command) + 1
            self.config = self.parser.parse_args([*words[:place], f"--config={file}", *words[place:]])
            del self.config[command]["config"][0]  # it is gone by the time that anybody could read it


class ParsingOnly(LightningCLI):
    """A LightningCLI that parses, and neither seeds, nor builds, nor runs.

    Touches `LightningCLI._set_seed` and `_run_subcommand`: with its public `run=False` there are no subcommands, and
    the configs of `fit` do not parse. Where these change, `plan` would start a run.
    """

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _set_seed(self) -> None:
        """Leave the random numbers alone."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""
