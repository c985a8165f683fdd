"""Steps that the device leaves out: the run is the one whose host reads at once, bit for bit, and stops for nothing."""

from __future__ import annotations

import json
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.optim import AdamW
from torch.utils._pytree import keystr, tree_flatten_with_path

from dpo_lightning import PreferenceDataModule
from dpo_lightning.callbacks import EMAReference, ResumableCheckpoint, UpdateGuard, update_guard
from dpo_lightning.errors import RunError
from dpo_lightning.utils.tensors import whole
from tests.callbacks.test_update_guard import Poison, Poisoned
from tests.helpers.reads import DeviceReads
from tests.helpers.resumable import in_processes
from tests.helpers.runs import computed, data, module, rows, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

STEPS = 15
ROWS = 80  # an epoch of 20 micro-batches
SELDOM = {"max_steps": STEPS, "max_epochs": -1, "limit_val_batches": 0, "log_every_n_steps": 100}


class Fused(Poisoned):
    def configure_optimizers(self) -> Any:
        return AdamW(self.parameters(), lr=1e-2, weight_decay=0.1, fused=True)


class Late:
    """Counts the steps of which the host has heard late."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._patch, self._made = 0, monkeypatch, update_guard.LateNumbers

    def __call__(self, values: Any) -> Any:
        self.count += 1
        return self._made(values)

    def set(self, is_late: bool) -> None:
        self._patch.setattr(update_guard, "is_read_late", lambda device: is_late)
        self._patch.setattr(update_guard, "LateNumbers", self)


@pytest.fixture
def late(monkeypatch):
    return Late(monkeypatch)


def fit(path: Path, guard: UpdateGuard, *poison: Poison, **settings: Any) -> pl.Trainer:
    callbacks = [*poison, guard, *settings.pop("callbacks", [])]
    runner = trainer(callbacks=callbacks, **{**SELDOM, **settings})
    torch.manual_seed(0)
    runner.fit(Fused(tiny_llama(), step_zero_check=False), data(path, ROWS, val_split=None))
    return runner


def checkpoint(runner: pl.Trainer) -> dict[str, Any]:
    """All that a checkpoint of now holds, but names, times and directories."""
    saved = runner._checkpoint_connector.dump_checkpoint()
    parts = {name: saved[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "loops")}
    own = {key: state for key, state in saved["callbacks"].items() if key.startswith(("UpdateGuard", "ExactResume"))}
    return {keystr(path): value for path, value in tree_flatten_with_path([parts, own])[0]}


def other(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    """The names of what differs in two checkpoints, the clock and Python's own random numbers aside."""
    names = [name for name in one.keys() | two.keys() if not re.search(r"second|memory_gib|'random'", name)]
    same = {
        name: torch.equal(one[name], two[name]) if isinstance(one[name], torch.Tensor) else one[name] == two[name]
        for name in one.keys() & two.keys()
    }
    return sorted(name for name in names if not same.get(name, False))


class Saves(pl.Callback):
    """Keeps what a checkpoint would hold at chosen moments."""

    def __init__(self, *steps: int) -> None:
        self.steps, self.saved = steps, {}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step in self.steps:
            self.saved[trainer.global_step] = checkpoint(trainer)


# Two of each in a row, the last one of "losses" in the last step of an epoch, which is read at once.
CASES: dict[str, Any] = {
    "losses": lambda: [Poison(2, 3, 9, loss=math.nan)],
    "gradients": lambda: [Poison(5, 6, gradient=math.inf)],
    "spikes": lambda: [Poison(12, 13, gradient=1e4)],
}


@pytest.mark.filterwarnings("ignore:.*skipped, . of at most:UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_the_run_is_that_of_a_host_that_reads_at_once(tmp_path, late, case):
    runs = []
    for is_late in (False, True):
        late.set(is_late)
        guard, saves = UpdateGuard(skips=3, spike=50.0), Saves(3, 4, 6, 10, 13)
        runner = fit(
            tmp_path, guard, *CASES[case](), callbacks=[saves], accumulate_grad_batches=2, gradient_clip_val=1.0
        )
        runs.append((saves.saved, checkpoint(runner), computed(runner.callback_metrics), guard.skipped))
        assert late.count == (STEPS - 3 if is_late else 0)  # the first step is logged, and the last of an epoch
    (at_once, end, metrics, skipped), (found, found_end, found_metrics, found_skipped) = runs
    assert {step: other(saved, found[step]) for step, saved in at_once.items()} == {step: [] for step in at_once}
    assert other(end, found_end) == []
    assert found_metrics == metrics
    assert found_skipped == skipped == (3 if case == "losses" else 2)


def test_a_step_too_many_is_named_before_the_next_one_is_made(tmp_path, late):
    late.set(True)
    poison = Poison(4, loss=math.nan)
    with pytest.raises(RunError, match=r"^a loss is not finite at optimizer step 4, on the pairs") as stopped:
        fit(tmp_path, UpdateGuard(), poison)
    assert f"on the pairs {sorted(poison.seen[4])} " in str(stopped.value)
    assert len(poison.seen) == 6
    assert torch.equal(poison.weights[4], poison.weights[3])
    assert not torch.equal(poison.weights[3], poison.weights[2])


def test_nothing_is_saved_or_ends_of_a_run_that_must_stop(tmp_path, late):
    late.set(True)
    for ends in (Saves(5), Stops(5)):
        poison = Poison(4, loss=math.nan)
        with pytest.raises(RunError, match="optimizer step 4,"):
            fit(tmp_path, UpdateGuard(), poison, callbacks=[ends])
        assert len(poison.seen) == 5


class Stops(pl.Callback):
    """Ends the run early, as a signal does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.step


@pytest.mark.filterwarnings("ignore:.*skipped, . of at most:UserWarning")
def test_a_checkpoint_of_the_stop_goes_on_with_as_many_skips_only(tmp_path, late):
    late.set(True)
    keeps = partial(ResumableCheckpoint, dirpath=str(tmp_path / "kept"))
    with pytest.raises(RunError, match="optimizer step 4,"):
        fit(tmp_path, UpdateGuard(), Poison(4, loss=math.nan), callbacks=[keeps()], enable_checkpointing=True)
    (saved,) = (tmp_path / "kept").glob("*.ckpt")
    again = partial(trainer, **{**SELDOM, "max_steps": 8})
    with pytest.raises(
        RunError, match=r"a loss is not finite at optimizer step 4: give UpdateGuard\(skips=1\) to go on"
    ):
        again(callbacks=[Poison(), UpdateGuard()]).fit(
            Fused(tiny_llama(), step_zero_check=False), data(tmp_path, ROWS, val_split=None), ckpt_path=saved
        )
    runner = again(callbacks=[Poison(), guard := UpdateGuard(skips=1)])
    runner.fit(Fused(tiny_llama(), step_zero_check=False), data(tmp_path, ROWS, val_split=None), ckpt_path=saved)
    assert (runner.global_step, guard.skipped) == (8, 1)
    whole = fit(tmp_path, UpdateGuard(skips=1), Poison(4, loss=math.nan), max_steps=8)
    assert other(*(dict(each.lightning_module.state_dict()) for each in (whole, runner))) == []


class Watches(pl.Callback):
    """Counts reads from the first micro-batch of one step to the first one of a later step."""

    def __init__(self, reads: DeviceReads) -> None:
        self.reads = reads

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.reads.counting = 5 <= trainer.global_step < 9


@pytest.mark.parametrize("is_late", [True, False])
def test_the_host_waits_for_nothing_between_two_logs(tmp_path, late, is_late):
    late.set(is_late)
    reads = DeviceReads()
    with reads:
        runner = trainer(
            callbacks=[Watches(reads)],
            **{**SELDOM, "log_every_n_steps": 5},
            accumulate_grad_batches=2,
            gradient_clip_val=1.0,
        )
        runner.fit(module(optimizer=partial(AdamW, lr=1e-3, fused=True)), data(tmp_path, ROWS, val_split=None))
    assert sum(reads.counts.values()) == (0 if is_late else 4), reads.counts


def test_who_must_know_at_once_is_told_at_once(tmp_path, late):
    late.set(True)
    for optimizer, callbacks in ((partial(AdamW, fused=True), [EMAReference()]), (AdamW, [])):
        run = module(optimizer=partial(optimizer, lr=1e-3))
        trainer(callbacks=callbacks, **{**SELDOM, "max_steps": 4}).fit(run, data(tmp_path, ROWS, val_split=None))
    fit(tmp_path, UpdateGuard(), Poison(), max_steps=4, log_every_n_steps=1)
    assert late.count == 0


def on_two_ranks(rank: int, path: Any) -> None:
    """Only the rank that holds pair 5 sees a bad loss; each run is made twice, read at once and late."""
    found = []
    for make in (DDPStrategy, lambda: ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)):
        for is_late in (False, True):
            update_guard.is_read_late = lambda device, late=is_late: late
            guard, model = UpdateGuard(skips=4), Fused(tiny_llama(), step_zero_check=False)
            poison = Poison(*range(1, 5), loss=math.nan, pair=5)
            settings = {**SELDOM, "max_steps": 6, "devices": 2, "strategy": make(), "gradient_clip_val": 1.0}
            torch.manual_seed(0)
            runner = trainer(callbacks=[poison, guard], **settings)
            runner.fit(model, PreferenceDataModule(path, tiny_tokenizer(), batch_pairs=4))
            weights = [whole(each.detach()).double().sum().item().hex() for each in model.policy.parameters()]
            found.append([guard.skipped, *weights])
    (path.parent / f"found-{rank}.json").write_text(json.dumps(found))


def test_all_ranks_leave_the_same_steps_out(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(16)))
    assert in_processes(2, on_two_ranks, path, output=tmp_path) == [0, 0]
    first, second = (json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2))
    assert first == second
    replicated, late, sharded, late_sharded = first
    assert replicated == late
    assert sharded == late_sharded
    assert 1 <= replicated[0] == sharded[0] <= 2
