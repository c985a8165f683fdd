"""A rank that stops or hangs ends the run, and is named."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn, Optional

import lightning.pytorch as pl

from dpo_lightning.compat.torch import default_store, group_timeout
from dpo_lightning.utils.ranks import from_all_ranks
from dpo_lightning.utils.settings import Rule
from dpo_lightning.utils.text import shown

_SECONDS = Rule("a number of seconds above 0", lambda value: value > 0)
_LONGEST_LOOK = 5.0  # seconds
_LOOKS = 12  # in the time that a rank is waited for, of which two are kept back: torch's own timeout names nobody


class Standing(NamedTuple):
    """The place at which a rank is.

    Attributes:
        passed: Number of marks that it has passed.
        place: The last of them.
    """

    passed: int
    place: str


class RollCall(pl.Callback):
    """Ends the run where a rank does not come to where the others wait for it, and says which rank, and where it is.

    Each rank notes in the process group's store how far it is. A thread of each looks there when its own rank does not
    go on: of a rank that stays behind for too long, stopped or in code that does not return, one line tells; it is
    killed where it runs on the same machine, and this process exits with 1. The ranks do not wait for each other, and a
    run of one process has no thread.

    Args:
        patience: Seconds that a rank may stay behind; null takes the process group's timeout, which a strategy gets as
            its `timeout`, half an hour by default.
    """

    def __init__(self, patience: Optional[float] = None) -> None:
        if patience is not None:
            _SECONDS.check("RollCall.patience", patience)
        self.patience = patience
        self._ended: threading.Event | None = None  # made by setup: an event cannot be pickled
        self._here = Standing(0, "the start")
        self._processes: list[tuple[str, int]] = []
        self._rank, self._ranks = 0, 1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start to look, where there are several ranks."""
        self._end()
        self._rank, self._ranks = trainer.global_rank, trainer.world_size
        if self._ranks < 2:
            return
        self._here = Standing(0, "the start")
        self._processes = from_all_ranks((socket.gethostname(), os.getpid()))
        self._mark("the setup")
        bound = self.patience or group_timeout(trainer.strategy)
        self._ended = threading.Event()
        threading.Thread(target=self._watch, args=(self._ended, bound), name="roll call", daemon=True).start()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Look no more, once all ranks are here: one may hang in its last batches, where no other waits for it."""
        if self._ended is not None:
            self._mark("the end")
            trainer.strategy.barrier("roll call")
        self._end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Look no more: the run ends by itself."""
        self._end()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the place."""
        self._mark("the start of the fit")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the place."""
        self._mark("the start of training")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the place."""
        self._mark(f"the forward of batch {batch_idx} in epoch {trainer.current_epoch}")

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Any) -> None:
        """Note the place."""
        self._mark("a backward")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the place."""
        self._mark(f"the end of batch {batch_idx} in epoch {trainer.current_epoch}")

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note the place."""
        self._mark(f"validation batch {batch_idx}")

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note the place."""
        self._mark(f"test batch {batch_idx}")

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note the place."""
        self._mark(f"prediction batch {batch_idx}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the place."""
        self._mark("the end of a validation")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the place."""
        self._mark(f"the end of epoch {trainer.current_epoch}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the place."""
        self._mark("the end of training")

    def _mark(self, place: str) -> None:
        if self._ranks < 2:
            return
        self._here = here = self._here._replace(passed=self._here.passed + 1, place=place)
        default_store().set(_key(self._rank), f"{here.passed}\n{here.place}")

    def _end(self) -> None:
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    def _watch(self, ended: threading.Event, bound: float) -> None:
        """Look while the run goes on; it is given up when the same ranks were behind the same place for so long."""
        pause = min(_LONGEST_LOOK, bound / _LOOKS)
        seen: dict[int, Standing] = {}
        before, since = 0, time.monotonic()
        while not ended.wait(pause):
            count = self._here.passed
            behind = self._behind(seen, pause) if count == before else []
            if not behind:
                before, since = count, time.monotonic()
            elif time.monotonic() - since > bound - 2 * pause and not ended.is_set():
                self._give_up(behind, seen, time.monotonic() - since)

    def _behind(self, seen: dict[int, Standing], seconds: float) -> list[int]:
        """Return the ranks that have passed fewer marks; rank 0, which keeps the store, where that does not answer."""
        count = self._here.passed

        def read() -> None:
            for rank in range(self._ranks):
                if rank != self._rank and default_store().check([_key(rank)]):
                    number, place = default_store().get(_key(rank)).decode().split("\n")
                    seen[rank] = Standing(int(number), place)

        with suppress(RuntimeError):  # the group has just ended
            reader = threading.Thread(target=_quietly(read), daemon=True)
            reader.start()
            reader.join(seconds)
            if reader.is_alive():
                return [] if self._rank == 0 else [0]
        return [rank for rank in range(self._ranks) if rank != self._rank and _passed(seen, rank) < count]

    def _give_up(self, behind: list[int], seen: dict[int, Standing], seconds: float) -> NoReturn:
        lost = ", ".join(f"rank {rank} {self._told(rank, seen)}" for rank in behind)
        line = (
            f"error: {lost} has not come for {seconds:.0f} s to where rank {self._rank} waits ({self._here.place}): "
            "the run ends; the strategy's timeout, or GracefulStop(patience=...), sets how long a rank is waited for"
        )
        print(shown(line), file=sys.stderr, flush=True)
        for rank in behind:
            host, pid = self._processes[rank]
            if host == socket.gethostname():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)  # a process that is stopped takes no other signal
        os._exit(1)  # the main thread is inside a collective, and hears nothing

    def _told(self, rank: int, seen: dict[int, Standing]) -> str:
        host, pid = self._processes[rank]
        place = f", last at {seen[rank].place}" if rank in seen else ""
        return f"(process {pid} on {host}{place})"


def _passed(seen: dict[int, Standing], rank: int) -> int:
    return seen[rank].passed if rank in seen else 0


def _key(rank: int) -> str:
    return f"dpo_lightning/roll_call/{rank}"


def _quietly(read: Any) -> Any:
    """A store that went away with its process ends the look, without a traceback beside the run's own error."""

    def run() -> None:
        with suppress(Exception):
            read()

    return run
