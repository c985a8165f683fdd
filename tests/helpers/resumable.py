"""Runs in processes of their own that are stopped and go on, and everything that they reported, bit for bit."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

from dpo_lightning import LoRA, PreferenceDataModule, PreferenceModule
from dpo_lightning.callbacks import ResumableCheckpoint
from dpo_lightning.reference import Reference
from dpo_lightning.training.schedules import Cosine, Schedule
from tests.helpers.runs import MEASURED, saved_model, trainer, write_rows

PAIRS, VALIDATION = 26, 6
_REPOSITORY = Path(__file__).resolve().parents[2]
_CONTEXT = multiprocessing.get_context("forkserver")
# The last ones are what a run imports late: a second or two in each process, which is most of a short run.
_LATE = ["datasets.load", "peft", "transformers.generation.utils", "transformers.models.llama.modeling_llama"]
_CONTEXT.set_forkserver_preload(["tests.helpers.resumable", "dpo_lightning.cli.main", *_LATE])
# The server finds what it preloads by this alone.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_REPOSITORY), os.environ.get("PYTHONPATH")]))


@dataclass(frozen=True)
class Case:
    """Settings of a run. Every one validates in the middle of its epochs, and has dropout unless `model` says no."""

    lora: bool = False
    model: dict[str, Any] = field(default_factory=dict)
    reference: Reference | None = None
    callbacks: Callable[[], list[pl.Callback]] = list
    data: Any = field(default_factory=lambda: {"batch_pairs": 2})  # settings, or a function of the shared directory
    trainer: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    strategy: Any = "auto"
    save_every: int | None = 2
    schedule: Schedule = Cosine(warmup=0.1)  # noqa: RUF009 - frozen


class JournalLogger(Logger):
    """Appends what is logged, one line each, and is never behind."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "journal"

    @property
    def version(self) -> str:
        return "0"

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to keep."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep the values bit for bit."""
        values = {name: float(value).hex() for name, value in metrics.items() if name not in {"epoch", *MEASURED}}
        note(self.path, ["metrics", step, *sorted(values)], values)


class Journal(pl.Callback):
    """Notes pairs and loss of each micro-batch, on every rank, and may raise in a chosen one."""

    def __init__(self, path: Path, fail_at: int | None = None) -> None:
        self.path = path
        self.fail_at = fail_at

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note it."""
        total = trainer.fit_loop.epoch_loop.total_batch_idx
        note(
            self.path,
            ["batch", trainer.current_epoch, batch_idx, total],
            {"pairs": batch.row_ids.tolist(), "loss": outputs["loss"].item().hex()},
        )
        if self.fail_at == total:
            raise ValueError("a fault")


def note(path: Path, key: list[Any], value: Any) -> None:
    """Append a line at once."""
    with path.open("a") as file:
        file.write(json.dumps([key, value]) + "\n")


def prepare(directory: Path) -> None:
    """The model and the pairs that all runs share."""
    saved_model(directory / "model", attention_dropout=0.3)
    write_rows(directory / "pairs.jsonl", PAIRS + VALIDATION)


def fit(shared: Path, run: Path, case: Case, rank: int = 0, fail_at: int | None = None, **overrides: Any) -> None:
    """One attempt at the run: from the beginning, or from the last checkpoint where there is one."""
    pl.seed_everything(1, verbose=False)
    module = PreferenceModule(
        str(shared / "model"),
        reference=case.reference,
        lora=LoRA(r=4, dropout=0.2) if case.lora else None,
        step_zero_check=False,
        optimizer=lambda params: AdamW(params, lr=1e-2, weight_decay=0.1),
        schedule=case.schedule,
        **{"dropout": True, **case.model},
    )
    own = case.data(shared) if callable(case.data) else case.data
    pairs = {
        "dataset": str(shared / "pairs.jsonl"),
        "train_split": f"train[{VALIDATION}:]",
        "val_split": f"train[:{VALIDATION}]",
    }
    data = PreferenceDataModule(**{**pairs, **own, **overrides.pop("data", {})})
    settings = {
        "max_epochs": 4,
        "max_steps": -1,
        "val_check_interval": 4,
        "log_every_n_steps": 3,
        "num_sanity_val_steps": 0,
        "devices": case.processes,
        "strategy": case.strategy if isinstance(case.strategy, str) else case.strategy(),
        "gradient_clip_val": 1.0,
        "enable_checkpointing": True,
        **case.trainer,
        **overrides,
    }
    journal = Journal(run / f"journal-{rank}.jsonl", fail_at)
    checkpoint = ResumableCheckpoint(run / "checkpoints", every_n_train_steps=case.save_every)
    runner = trainer(
        callbacks=[journal, checkpoint, *case.callbacks()], logger=JournalLogger(run / "journal-log.jsonl"), **settings
    )
    try:
        runner.fit(module, data, ckpt_path="last")
    except ValueError as error:
        assert str(error) == "a fault"  # noqa: PT017 - injected above
        sys.exit(7)
    if runner.max_epochs == runner.current_epoch or case.trainer.get("max_steps") == runner.global_step:
        torch.save({key: _own_part(value) for key, value in module.state_dict().items()}, run / f"weights-{rank}.pt")


def _own_part(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _child(log: Path, environment: dict[str, str], target: Callable[..., None], args: Any, kwargs: Any) -> None:
    os.environ.update(environment)
    datasets.config.HF_DATASETS_CACHE = Path(environment["HF_DATASETS_CACHE"])
    gc.freeze()  # all that was imported
    multiprocessing.set_start_method("fork", force=True)  # of loader workers
    torch.set_num_threads(1)
    with log.open("a") as file, redirect_stdout(file), redirect_stderr(file):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        target(*args, **kwargs)


def start(shared: Path, run: Path, case: Case, **kwargs: Any) -> list[Any]:
    """Start the processes of an attempt."""
    run.mkdir(exist_ok=True)
    return launch(case.processes, run, lambda rank: (fit, (shared, run, case, rank), kwargs))


def in_processes(count: int, target: Callable[..., None], *args: Any, output: Path, timeout: float = 120) -> list[int]:
    """Call `target(rank, *args)` on all ranks of a group; their exit codes. What they print is in `output`."""
    return wait(launch(count, output, lambda rank: (target, (rank, *args), {})), timeout)


def launch(count: int, output: Path, call: Callable[[int], tuple[Callable[..., None], Any, Any]]) -> list[Any]:
    """Processes that are forked from one that has imported everything, and find each other as Lightning's do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    cache = {"HF_DATASETS_CACHE": str(datasets.config.HF_DATASETS_CACHE)}
    group = {**cache, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "NODE_RANK": "0"}
    processes = []
    for rank in range(count):
        environment = {**group, "LOCAL_RANK": str(rank)} if count > 1 else cache
        processes.append(
            _CONTEXT.Process(target=_child, args=(output / f"output-{rank}.txt", environment, *call(rank)))
        )
        processes[-1].start()
    return processes


def wait(processes: list[Any], timeout: float = 120) -> list[int]:
    """Exit codes, a signal as its negative number."""
    deadline = time.monotonic() + timeout
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        process.kill()
        process.join()
    assert not alive, f"{len(alive)} of {len(processes)} processes did not end"
    return [process.exitcode for process in processes]


def stop_after(processes: list[Any], run: Path, micro_batches: int, delay: float, number: signal.Signals) -> None:
    """Send a signal some time after the attempt has noted so many micro-batches: to all, or SIGTERM to the last one."""
    path = run / "journal-0.jsonl"
    before = _lines(path)
    while _lines(path) < before + micro_batches and processes[0].is_alive():
        time.sleep(0.002)
    time.sleep(delay)
    for process in processes[-1:] if number == signal.SIGTERM else processes:
        if process.is_alive():
            os.kill(process.pid, number)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def noted(run: Path) -> dict[str, Any]:
    """Everything that the attempts of a run noted; what two of them noted must be equal.

    Raises:
        AssertionError: where an attempt noted something else than an earlier one.
    """
    found: dict[str, Any] = {}
    for path in sorted(run.glob("journal-*.jsonl")):
        for line in _whole_lines(path):
            key, value = json.loads(line)
            name = f"{path.stem} {key}"
            assert found.setdefault(name, value) == value, f"{name}: {found[name]}, and later {value}"
    return found


def _whole_lines(path: Path) -> Iterator[str]:
    return (line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The final weights of each process, or its part of them."""
    return {
        f"{path.stem} {key}": value
        for path in sorted(run.glob("weights-*.pt"))
        for key, value in torch.load(path, weights_only=True).items()
    }
