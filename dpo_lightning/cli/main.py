"""The command `dpo-lightning`: the Trainer's subcommands, and those beside them."""

from __future__ import annotations

import re
import sys
import traceback
from types import TracebackType

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from dpo_lightning.cli.commands import COMMANDS
from dpo_lightning.cli.trainer import run_trainer
from dpo_lightning.errors import DPOLightningError
from dpo_lightning.utils.text import one_line, shown

_OUT_OF_MEMORY = (
    "out of memory: lower data.batch_tokens or data.batch_pairs (with trainer.accumulate_grad_batches the steps stay "
    "the same), or set model.gradient_checkpointing. `--ckpt_path last` goes on from the last checkpoint"
)


def main(args: list[str] | None = None) -> None:
    """Run the command; exit 0 on success, 1 on wrong input or a stopped run, 2 on a wrong key."""
    words = sys.argv[1:] if args is None else args
    try:
        if words and words[0] in COMMANDS:
            COMMANDS[words[0]](words[1:])
        else:
            run_trainer(args)
    except Exception as error:
        known = cause_in_a_line(error)
        if known is None:
            sys.excepthook = print_without_secrets
            raise
        sys.exit(f"error: {shown(known)}")


def print_without_secrets(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback as the interpreter does, secrets masked and what cannot be seen spelled out."""
    sys.stderr.write(shown("".join(traceback.format_exception(kind, error, trace))))


def cause_in_a_line(error: Exception) -> str | None:
    """Say what an error means to the user; None for one that is a fault of the code, whose traceback is wanted."""
    return next(filter(None, (read(error) for read in _READERS)), None)


def _known_cause(error: BaseException | None) -> str | None:
    """Find an error of ours behind the one that the parser made of it while it built objects."""
    while error is not None and not isinstance(error, DPOLightningError):
        error = error.__cause__
    return None if error is None else _own_line(error)


def _own_line(error: DPOLightningError) -> str:
    """Return what the error says, without the traceback that torch puts before that of a loader's process."""
    said = str(error)
    if not said.startswith(f"Caught {type(error).__name__} in "):
        return said
    return said.rpartition(f"\n{type(error).__module__}.{type(error).__qualname__}: ")[2].strip()


def _full_memory(error: BaseException) -> str | None:
    if not isinstance(error, torch.OutOfMemoryError | MemoryError):
        return None
    return f"{_OUT_OF_MEMORY} ({one_line(error, 200)})"


def _lost_worker(error: BaseException) -> str | None:
    """Recognise that a loader's process died: torch raises it in whatever runs just then, so only here is it caught.

    Torch has no class for it. A batch that a process sends while it dies ends in an error of the connection.
    """
    found = re.match(r"DataLoader worker \(pid(\(s\))? [\d, ]+\)[^.]*", str(error))
    if found is not None and isinstance(error, RuntimeError):
        said = found[0].strip()
    elif isinstance(error, ConnectionError | EOFError) and _receives_a_tensor(error):
        said = f"a DataLoader worker is gone ({type(error).__name__})"
    else:
        return None
    return (
        f"{said}: most likely the machine ran out of memory, or of shared memory (/dev/shm). Lower "
        "data.num_workers (0 needs no processes); `--ckpt_path last` goes on from the last checkpoint"
    )


def _receives_a_tensor(error: BaseException) -> bool:
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == "torch.multiprocessing.reductions" for frame in frames)


def _no_place(error: BaseException) -> str | None:
    """Recognise a file system that refuses: no such directory, no permission, a disk that is full or read-only."""
    if not isinstance(error, OSError) or error.errno is None or isinstance(error, ConnectionError):
        return None
    return f"{'a file' if error.filename is None else error.filename}: {error.strerror}"


def _no_checkpoint(error: BaseException) -> str | None:
    """Recognise what Lightning's migration says of a file that no Trainer has written."""
    if not isinstance(error, KeyError | TypeError | AttributeError):
        return None
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    if not str(last.f_globals.get("__name__")).startswith("lightning.pytorch.utilities.migration."):
        return None
    return f"ckpt_path names no checkpoint of a run ({one_line(error, 200)}); weights of a model go to model.policy"


def _refused_by_others(error: BaseException) -> str | None:
    """Recognise what Lightning refuses while it runs, such as an interval longer than the epoch, and its parser."""
    if not isinstance(error, MisconfigurationException | RuntimeError | ValueError):
        return None
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    raised_there = str(last.f_globals.get("__name__")).startswith(("lightning.", "jsonargparse."))
    return one_line(error, 1000) if raised_there else None


def _refused_by_wandb(error: BaseException) -> str | None:
    """Recognise what wandb says where it has no key, or cannot reach its server."""
    if not type(error).__module__.startswith("wandb.errors"):
        return None
    return f"WandbLogger: {one_line(error, 300)}: set WANDB_API_KEY, or offline: true"


def _broken_logger(error: BaseException) -> str | None:
    """Recognise a logger whose package is installed and cannot be imported, which Lightning finds out in the run."""
    if not isinstance(error, ImportError):
        return None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith("lightning.pytorch.loggers."):
            name = type(frame.f_locals.get("self")).__name__
            return f"trainer.logger: {name}: its package cannot be imported ({one_line(error, 200)}): install it again"
    return None


_READERS = (
    _known_cause,
    _full_memory,
    _lost_worker,
    _no_place,
    _no_checkpoint,
    _broken_logger,
    _refused_by_wandb,
    _refused_by_others,
)
