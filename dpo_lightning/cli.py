"""The command: LightningCLI with one-line errors."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from dpo_lightning.data import PreferenceDataModule
from dpo_lightning.errors import DPOLightningError
from dpo_lightning.module import PreferenceModule


class SuggestingParser(LightningArgumentParser):
    """Answers a misspelt key with the nearest one."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit 2."""
        print(message)
        raise SystemExit(2)


class PreferenceCLI(LightningCLI):
    """`fit | validate | test | predict`."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    try:
        PreferenceCLI(
            PreferenceModule,
            PreferenceDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            args=args,
        )
    except DPOLightningError as error:
        sys.exit(f"error: {error}")
