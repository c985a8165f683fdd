"""The steps of LightningCLI that have no hook."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.cli import LightningCLI


class CheckedCheckpointCLI(LightningCLI):
    """A LightningCLI that asks before it reads settings from a checkpoint.

    Touches `LightningCLI._parse_ckpt_path`, which lets a checkpoint's settings override config and flags, without a
    switch. Where it changes, that comes back.
    """

    def reads_settings_of(self, path: str | None) -> bool:
        """Return whether settings are taken from the checkpoint at `ckpt_path`; may refuse it."""
        raise NotImplementedError

    def _parse_ckpt_path(self) -> None:
        path = self.config[self.config["subcommand"]].get("ckpt_path")
        if self.reads_settings_of(path if path and Path(path).is_file() else None):
            super()._parse_ckpt_path()


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
