"""The command `dpo-lightning`: the Trainer's subcommands, and those beside them."""

from __future__ import annotations

import sys

from dpo_lightning.commands import COMMANDS
from dpo_lightning.errors import DPOLightningError
from dpo_lightning.trainer_cli import run_trainer


def main(args: list[str] | None = None) -> None:
    """Run the command; exit 0 on success, 1 on wrong input or a stopped run, 2 on a wrong key."""
    words = sys.argv[1:] if args is None else args
    try:
        if words and words[0] in COMMANDS:
            COMMANDS[words[0]](words[1:])
        else:
            run_trainer(args)
    except Exception as error:
        known = _known_cause(error)
        if known is None:
            raise
        sys.exit(f"error: {known}")


def _known_cause(error: BaseException | None) -> DPOLightningError | None:
    """The error of ours behind what the parser made of it while it built objects."""
    while error is not None and not isinstance(error, DPOLightningError):
        error = error.__cause__
    return error
