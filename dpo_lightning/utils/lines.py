"""Lines for people, where they leave the process: info lines of Lightning and this package, and all warnings."""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from typing import Any

from lightning.pytorch.utilities import rank_zero

from dpo_lightning.utils.text import shown


class _ShowsAll(logging.Filter):
    """A filter that lets every record pass, with its message as it may reach a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        with suppress(Exception):  # arguments that do not fit the message, of which logging tells
            record.msg, record.args = shown(record.getMessage()), ()
        return True


def show_lines() -> None:
    """Spell out what cannot be seen in lines and warnings of this process, and mask secrets; once is enough.

    Names of files, models and columns stand in them, and the place of a checkpoint, which may be a URL with a password.
    Lightning's own are among them, since it logs by the same logger.
    """
    logger = rank_zero.rank_zero_module.log
    if any(isinstance(each, _ShowsAll) for each in logger.filters):
        return
    logger.addFilter(_ShowsAll())
    plain = warnings.formatwarning

    def formatted(*arguments: Any, **named: Any) -> str:
        return shown(plain(*arguments, **named))

    warnings.formatwarning = formatted
