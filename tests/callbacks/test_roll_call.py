"""A rank that is stopped, or in code that does not return, ends the run within a bound, and is named."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
from lightning.pytorch.strategies import DDPStrategy

from dpo_lightning.callbacks import GracefulStop, roll_call
from dpo_lightning.callbacks.roll_call import RollCall
from dpo_lightning.errors import InputError
from tests.helpers.resumable import launch, wait
from tests.helpers.runs import data, module, trainer

PATIENCE = 10.0


class Hangs(pl.Callback):
    """In the third batch of one rank."""

    def __init__(self, how: str, rank: int) -> None:
        self.how, self.rank = how, rank

    def on_train_batch_start(self, trainer: pl.Trainer, *args: object) -> None:
        if trainer.global_step == 2 and trainer.global_rank == self.rank:
            print(f"hangs at {time.time()}", flush=True)
            if self.how == "stops":
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(3600)


def run_of_two(_: int, how: str, hangs: int, path: Path) -> None:
    """The fit of both ranks."""
    callbacks = [Hangs(how, hangs), GracefulStop(patience=PATIENCE)]
    strategy = DDPStrategy(process_group_backend="gloo")
    trainer(max_steps=20, devices=2, callbacks=callbacks, strategy=strategy).fit(module(), data(path))


@pytest.mark.parametrize(("how", "rank"), [("stops", 0), ("sleeps", 1)])
def test_a_rank_that_hangs_is_named_and_all_end(tmp_path, how, rank):
    for each in range(2):
        (tmp_path / str(each)).mkdir()
    codes = wait(launch(2, tmp_path, lambda each: (run_of_two, (each, how, rank, tmp_path / str(each)), {})), 200)
    ended = time.time()
    assert codes == ([-signal.SIGKILL, 1] if rank == 0 else [1, -signal.SIGKILL])
    hung, other = ((tmp_path / f"output-{each}.txt").read_text() for each in (rank, 1 - rank))
    assert ended - float(hung.partition("hangs at ")[2].split()[0]) < 3 * PATIENCE
    line = next(line for line in other.splitlines() if line.startswith("error: "))
    assert line.startswith(f"error: rank {rank} (process ")
    assert f"to where rank {1 - rank} waits (the forward of batch 2 in epoch 0)" in line


class Store(dict):
    """A store in memory."""

    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)

    def get(self, key: str) -> bytes:
        return self[key]


@pytest.fixture
def called(monkeypatch):
    """A rank 1 of three that is in a run, and the store."""
    store = Store()
    monkeypatch.setattr(roll_call, "default_store", lambda: store)
    here = RollCall(patience=0.5)
    here._rank, here._ranks, here._processes = 1, 3, [("a", 1), ("b", 2), ("c", 3)]
    return here, store


def stand(store: Store, rank: int, passed: int) -> None:
    store.set(roll_call._key(rank), f"{passed}\nbatch {passed}")


def test_who_has_passed_fewer_marks_is_behind(called):
    here, store = called
    here._mark("batch 1")
    stand(store, 0, 1)
    stand(store, 2, 1)
    assert here._behind({}, 5) == []
    here._mark("batch 2")
    stand(store, 0, 3)
    seen = {}
    assert here._behind(seen, 5) == [2]
    assert here._told(2, seen) == "(process 3 on c, last at batch 1)"
    assert here._told(0, {}) == "(process 1 on a)"


@pytest.mark.parametrize("stage", ["validation", "test", "predict"])
def test_a_rank_that_hangs_in_an_evaluation_is_behind(called, stage):
    here, store = called
    stand(store, 0, 1)
    stand(store, 2, 2)
    for number in range(2):
        getattr(here, f"on_{stage}_batch_start")(None, None, None, number)
    assert here._behind({}, 5) == [0]
    assert here._here.place.endswith(" batch 1")


def test_the_end_is_waited_for_while_others_may_hang(called):
    here, _ = called
    here._ended, places = threading.Event(), []
    strategy = SimpleNamespace(barrier=lambda name: places.append((here._here.place, here._ended.is_set())))
    here.teardown(SimpleNamespace(strategy=strategy), None, "predict")
    here.teardown(SimpleNamespace(strategy=strategy), None, "predict")
    assert places == [("the end", False)]
    assert here._ended is None


def test_a_store_that_does_not_answer_is_that_of_a_rank_0_that_hangs(called, monkeypatch):
    here, _ = called
    here._mark("batch 1")
    monkeypatch.setattr(roll_call, "default_store", lambda: time.sleep(2))
    assert here._behind({}, 0.05) == [0]


def test_a_run_goes_on_while_ranks_come_late(called, monkeypatch):
    here, store = called
    given_up, ended = [], threading.Event()
    monkeypatch.setattr(here, "_give_up", lambda behind, *rest: given_up.append(behind) or ended.set())
    watch = threading.Thread(target=here._watch, args=(ended, 0.5), daemon=True)
    watch.start()
    for step in range(1, 6):
        here._mark(f"batch {step}")
        time.sleep(0.2)
        stand(store, 0, step)
        stand(store, 2, step)
    assert given_up == []
    here._mark("batch 6")
    stand(store, 0, 6)
    watch.join(10)
    assert given_up == [[2]]


def test_one_process_has_no_thread(tmp_path):
    calls = GracefulStop()
    trainer(callbacks=[calls]).fit(module(), data(tmp_path))
    assert "roll call" not in {thread.name for thread in threading.enumerate()}
    assert pickle.loads(pickle.dumps(calls)).patience is None


@pytest.mark.parametrize("patience", [0.0, -1.0, float("nan"), "x"])
def test_patience_is_a_time(patience):
    with pytest.raises(InputError, match=r"RollCall.patience must be a number of seconds above 0"):
        RollCall(patience)


def test_the_bound_is_the_strategys():
    assert roll_call.group_timeout(SimpleNamespace()) == 1800
    assert roll_call.group_timeout(DDPStrategy(timeout=timedelta(seconds=7))) == 7
