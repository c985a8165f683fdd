"""Messages of other libraries that tell the user of this command nothing, and warnings without the line that warns."""

from __future__ import annotations

import logging
import site
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dpo_lightning
from dpo_lightning.compat.datasets import let_bars_go as let_bars_of_rows_go
from dpo_lightning.compat.transformers import let_bars_go
from dpo_lightning.utils.text import shown

_LOGGED = (
    "💡 Tip:",  # Lightning: other products
    "Loading `train_dataloader` to estimate",  # Lightning: a step of its own
    "Failed to load CPU gemm_4bit",  # bitsandbytes: a kernel that a CPU run in 4 bit could use
    "GPU available: False",  # Lightning: what is not there; a GPU that is not used has a warning of its own
    "TPU available: False",
    "`weights_only` was not set",  # Lightning: an argument of a call of its own
    "Restoring states from the checkpoint",  # Lightning: the start of a fit says from where it goes on
    "Restored all states from the checkpoint",
    "`Trainer.fit` stopped: `max_epochs=",  # Lightning: the run's end, as it was planned
    "`Trainer.fit` stopped: `max_steps=",
    "Seed set to",  # Lightning: the start of a fit says it, once
    "-" * 100 + "\ndistributed_backend=",  # Lightning: the start of a fit says how many processes there are
)
_WARNED = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # torch, of Lightning's code
    r"`is_gradient_checkpointing` is deprecated",  # transformers, of PEFT's code
    r".*callbacks used to create the checkpoint need to be provided.*: \['KeepRecord'\]",  # a fit alone has it
    r"The number of training batches \(\d+\) is smaller than the logging interval",  # the last step is logged, too
    r"\.\w+\(ckpt_path=\"last\"\) is set, but there is no last",  # Lightning: `LastOrNothing` says what that means
)
_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning_utilities.core.rank_zero",
    "lightning.fabric.utilities.seed",
    "lightning.pytorch.trainer.connectors.checkpoint_connector",
    "bitsandbytes.backends.cpu.ops",
)
_PREFIX = "[rank: "  # Lightning puts the rank before some lines


def leave_out_noise() -> None:
    """Leave them out of the process's log from now on; bars of rows and weights are gone when they are full.

    A warning of an installed package is then its text alone: the line of code that gives it tells the user nothing.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_tells_something)
    for message in _WARNED:
        warnings.filterwarnings("ignore", message=message)
    let_bars_go()
    let_bars_of_rows_go()
    _shorten_warnings()


@contextmanager
def parsing_quietly() -> Iterator[None]:
    """Leave out inside the block what Lightning says of words that the command hands on in another form."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LightningCLI's args parameter is intended")
        yield


def _tells_something(record: logging.LogRecord) -> bool:
    said = str(record.msg)  # its arguments may not fit, of which logging tells
    said = said.partition("] ")[2] if said.startswith(_PREFIX) else said
    return not said.startswith(_LOGGED)


def _shorten_warnings() -> None:
    whole = warnings.formatwarning
    if getattr(whole, "is_short", False):
        return

    def short(message: Any, category: Any, filename: str, *line: Any, **named: Any) -> str:
        if _is_installed(filename):
            return f"warning: {shown(message)}\n"
        return whole(message, category, filename, *line, **named)

    short.is_short = True  # type: ignore[attr-defined]
    warnings.formatwarning = short


def _is_installed(filename: str) -> bool:
    """Return whether a file is of a package and not of the user."""
    own = Path(str(dpo_lightning.__file__)).parent
    places: list[str | Path] = [own, *site.getsitepackages(), sysconfig.get_paths()["stdlib"]]
    return any(Path(filename).is_relative_to(place) for place in places)
