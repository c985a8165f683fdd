"""A run that is stopped and goes on reports and ends as one that was not: bit for bit."""

from __future__ import annotations

import random
import signal
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from dpo_lightning import FrozenAdapter, PlackettLuceDPO, Source, UnpairedBCO, UnpairedFormat
from dpo_lightning.callbacks import EMAReference
from dpo_lightning.training.schedules import Constant
from tests.helpers.ranked import RankedRows
from tests.helpers.resumable import Case, noted, prepare, start, stop_after, wait, weights


def fsdp2() -> ModelParallelStrategy:
    return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)


def moving() -> list[pl.Callback]:
    return [EMAReference(0.5)]


def two_sources(shared: Path) -> dict[str, Any]:
    """Parts and passes of the pairs, which differ from epoch to epoch."""
    pairs = str(shared / "pairs.jsonl")
    sources = [Source(pairs, "train[6:20]", rows=9, name="part"), Source(pairs, "train[20:]", weight=1, name="all")]
    return {"dataset": None, "train_split": "train", "sources": sources, "val_split": pairs, "batch_tokens": 130}


def streamed(shared: Path, **settings: Any) -> dict[str, Any]:
    """The pairs as they come, tokenised in two processes."""
    stream = {"train_split": "train", "streaming": True, "shuffle_buffer": 9, "num_workers": 2}
    return {**stream, "val_split": f"{shared / 'pairs.jsonl'}[:6]", **settings}


# A step of two processes takes a quarter of a second, and its checkpoint as long.
SHORTER = {"max_epochs": 2}
CASES = {
    "full": Case(schedule=Constant()),
    "lora": Case(lora=True),
    "lora, moving reference": Case(
        lora=True, reference=FrozenAdapter(), callbacks=moving, trainer={"precision": "bf16-true"}
    ),
    "accumulated, workers": Case(data={"batch_pairs": 2, "num_workers": 2}, trainer={"accumulate_grad_batches": 3}),
    "tokens, accumulated": Case(lora=True, data={"batch_tokens": 130}, trainer={"accumulate_grad_batches": 2}),
    "sources, accumulated": Case(data=two_sources, trainer={"accumulate_grad_batches": 2}),
    "stream, accumulated": Case(data=streamed, trainer={"accumulate_grad_batches": 3, "max_steps": 8}),
    "stream, ddp": Case(
        data=partial(streamed, batch_pairs=3),
        trainer={"accumulate_grad_batches": 2, "max_steps": 8},
        processes=2,
        strategy="ddp",
    ),
    "epochs": Case(data={"batch_pairs": 4}, trainer={"val_check_interval": 1.0}, save_every=None),
    "running mean, accumulated": Case(
        model={"objective": UnpairedBCO()},
        data={"batch_pairs": 4, "format": UnpairedFormat()},
        trainer={"accumulate_grad_batches": 2},
    ),
    "lists, accumulated": Case(
        model={"objective": PlackettLuceDPO()},
        data={"batch_pairs": 3, "format": RankedRows()},
        trainer={"accumulate_grad_batches": 2},
    ),
    "ddp": Case(data={"batch_pairs": 1}, trainer={"accumulate_grad_batches": 2}, processes=2, strategy="ddp"),
    "fsdp2": Case(data={"batch_pairs": 1}, trainer=SHORTER, processes=2, strategy=fsdp2),
    "fsdp2, lora": Case(lora=True, data={"batch_pairs": 1}, trainer=SHORTER, processes=2, strategy=fsdp2),
}
KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
FAULT = {"fail_at": 7}  # a micro-batch that is, in the accumulated cases, in the middle of an optimizer step
STEPS = {"max_steps": 11}
TIME = {"max_time": timedelta(seconds=0.3)}
STOPS: list[tuple[str, list[Any]]] = [
    ("full", [KILL, KILL, STEPS, KILL, KILL, KILL, TIME]),
    ("lora", [KILL, TERM, KILL, INT, KILL, KILL, TIME]),
    ("lora, moving reference", [KILL, FAULT, KILL]),
    ("accumulated, workers", [KILL, FAULT, KILL, TERM, KILL, KILL]),
    ("tokens, accumulated", [FAULT, KILL, INT, KILL, KILL]),
    ("sources, accumulated", [KILL, FAULT, KILL, TERM]),
    ("stream, accumulated", [KILL, TERM, KILL]),
    ("stream, ddp", [KILL, TERM]),
    ("epochs", [KILL, KILL, TERM, KILL]),
    ("running mean, accumulated", [KILL, FAULT, KILL, TERM]),
    ("lists, accumulated", [KILL, FAULT, KILL]),
    ("ddp", [KILL, TERM, KILL, INT]),
    ("fsdp2", [KILL, TERM, KILL]),
    ("fsdp2, lora", [KILL, TERM, KILL]),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shared")
    prepare(directory)
    return directory


def attempt(shared: Path, run: Path, name: str, stop: Any, chance: random.Random) -> bool:
    """Run the case until it is stopped; whether it ended before."""
    case = CASES[name]
    faults = stop if isinstance(stop, dict) else {}
    processes = start(shared, run, case, **faults)
    if isinstance(stop, signal.Signals):
        stop_after(processes, run, chance.randint(1, 5), chance.random() * 0.03, stop)
    codes = wait(processes)
    output = (run / "output-0.txt").read_text()[-3000:]
    if stop is None or codes == [0] * case.processes:
        assert codes == [0] * case.processes, output
        return stop is None or (run / "weights-0.pt").exists()
    assert codes[0] == {KILL: -9, TERM: 143, INT: 130}.get(stop if isinstance(stop, int) else None, 7), output
    return False


def uninterrupted(shared: Path, name: str) -> Path:
    """The run that the others are held against; made once."""
    run = shared / f"whole {name}"
    if not run.exists():
        assert attempt(shared, run, name, None, random.Random())
    return run


@pytest.mark.parametrize(("name", "stops"), STOPS, ids=[name for name, _ in STOPS])
def test_stopped_at_random_points(shared, tmp_path, name, stops):
    whole = uninterrupted(shared, name)
    run = tmp_path / "run"
    stopped = 0
    for stop in [*stops, None]:
        if attempt(shared, run, name, stop, random.Random(f"{name} {stopped}")):
            break
        stopped += 1
    assert stopped >= len(stops) - 1  # a run may end before its last stop
    found, expected = noted(run), noted(whole)
    # A time limit has Lightning validate, and log what it logged last, once more where it stops.
    extra = {key for key in found.keys() - expected.keys() if "metrics" in key} if TIME in stops else set()
    assert {key: value for key, value in found.items() if key not in extra} == expected
    assert len(expected) > 20
    theirs = weights(whole)
    assert weights(run).keys() == theirs.keys() != set()
    for key, value in weights(run).items():
        assert torch.equal(value, theirs[key]), key
