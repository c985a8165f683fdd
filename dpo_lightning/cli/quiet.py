"""Messages of other libraries that tell the user of this command nothing."""

from __future__ import annotations

import logging
import warnings

from dpo_lightning.compat.transformers import let_bars_go

_LOGGED = (
    "💡 Tip:",  # Lightning: other products
    "Loading `train_dataloader` to estimate",  # Lightning: a step of its own
    "Failed to load CPU gemm_4bit",  # bitsandbytes: a kernel that a CPU run in 4 bit could use
)
_WARNED = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # torch, of Lightning's code
    r"`is_gradient_checkpointing` is deprecated",  # transformers, of PEFT's code
)
_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning_utilities.core.rank_zero",
    "bitsandbytes.backends.cpu.ops",
)


def leave_out_noise() -> None:
    """Leave them out of the process's log from now on; bars of loaded and saved weights are gone when they are full."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_tells_something)
    for message in _WARNED:
        warnings.filterwarnings("ignore", message=message)
    let_bars_go()


def _tells_something(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_LOGGED)  # its arguments may not fit, of which logging tells
