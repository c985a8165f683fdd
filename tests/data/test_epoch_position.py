"""Going on in the middle of an epoch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from datasets import Dataset
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy

from dpo_lightning import PreferenceModule
from dpo_lightning.errors import InputError
from tests.data.common import (
    BATCHES,
    TOKENS,
    Fits,
    Recorder,
    data,
    rows,
    run,
)
from tests.helpers.runs import trainer
from tests.helpers.tiny import tiny_llama


@pytest.fixture
def stopped(tmp_path_factory) -> Any:
    """A run of three epochs that leaves a checkpoint after every step."""

    def fit(**settings: Any) -> tuple[list[list[int]], Path]:
        directory = tmp_path_factory.mktemp("checkpoints")
        module = Recorder()
        every_step = ModelCheckpoint(directory, "{step}", every_n_train_steps=1, save_top_k=-1)
        run(module, data(**settings.pop("data", {})), callbacks=[every_step], enable_checkpointing=True, **settings)
        return module.seen["train"], directory

    return fit


def resumed(checkpoint: Path, reads_steps: bool = False, **settings: Any) -> list[list[int]]:
    module = Recorder(reads_steps)
    run(module, data(**settings.pop("data", {})), ckpt_path=str(checkpoint), **settings)
    return module.seen["train"]


@pytest.mark.parametrize("reads_steps", [False, True], ids=["", "estimated_stepping_batches"])
def test_a_resumed_run_sees_exactly_what_was_left(stopped, reads_steps):
    whole, checkpoints = stopped()
    assert len(whole) == 3 * BATCHES
    for step in (1, 2, 5, 6, 7, 9, 11, 12, 13, 17):
        assert resumed(checkpoints / f"step={step}.ckpt", reads_steps) == whole[step:], step


@pytest.mark.parametrize("step", [2, 6, 8])
def test_with_worker_processes(stopped, step):
    whole, checkpoints = stopped()
    assert resumed(checkpoints / f"step={step}.ckpt", True, data={"num_workers": 2}) == whole[step:]


@pytest.mark.parametrize(
    "settings",
    [
        {"limit_train_batches": 4},
        {"limit_train_batches": 0.5},
        {"accumulate_grad_batches": 2},
        {"accumulate_grad_batches": 4},
        {"data": {"val_split": "train[:5]"}, "val_check_interval": 2},
        {"data": {"val_split": 0.3, "length_grouped": False}},
        {"data": TOKENS},
        {"data": TOKENS, "accumulate_grad_batches": 4},
    ],
    ids=str,
)
def test_whatever_an_epoch_is(stopped, settings):
    whole, checkpoints = stopped(**settings)
    accumulated = settings.get("accumulate_grad_batches", 1)
    per_epoch = len(whole) // 3
    steps_per_epoch = -(-per_epoch // accumulated)
    for step in range(1, 3 * steps_per_epoch):
        epoch, within = divmod(step, steps_per_epoch)
        done = epoch * per_epoch + within * accumulated
        assert resumed(checkpoints / f"step={step}.ckpt", **settings) == whole[done:], step


@pytest.mark.parametrize(("step", "epochs_done"), [(3, 1), (6, 1), (8, 2)])
def test_the_epoch_in_which_max_steps_stops_a_run_is_done_for_lightning_and_so_for_the_data(
    tmp_path, step, epochs_done
):
    whole = Recorder()
    run(whole, data())
    fit = run(Recorder(), data(), max_steps=step)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    assert resumed(tmp_path / "last.ckpt") == whole.seen["train"][epochs_done * BATCHES :]


@pytest.mark.parametrize("step", [3, 6, 8])
def test_a_checkpoint_of_the_step_at_which_max_steps_stops_a_run(tmp_path, step):
    whole = Recorder()
    run(whole, data())
    last = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=step)
    run(Recorder(), data(), max_steps=step, callbacks=[last], enable_checkpointing=True)
    assert resumed(tmp_path / f"step={step}.ckpt") == whole.seen["train"][step:]


def test_a_checkpoint_of_the_epochs_end(tmp_path):
    whole = Recorder()
    run(whole, data())
    at_end = ModelCheckpoint(tmp_path, "{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    run(Recorder(), data(), callbacks=[at_end], enable_checkpointing=True, max_epochs=2)
    for epoch in range(2):
        assert resumed(tmp_path / f"epoch={epoch}.ckpt") == whole.seen["train"][(epoch + 1) * BATCHES :]


class RestoringLate(SingleDeviceStrategy):
    """Restores after the optimizers are set up, as the sharded strategies do."""

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True


def test_a_strategy_that_restores_after_the_loader_is_built(stopped):
    whole, checkpoints = stopped()
    for step in (2, 6, 8):
        late = RestoringLate("cpu", accelerator=pl.accelerators.CPUAccelerator())
        assert resumed(checkpoints / f"step={step}.ckpt", True, strategy=late, accelerator="auto") == whole[step:]


def test_resuming_in_mid_epoch_is_not_called_unreliable(stopped):
    _, checkpoints = stopped()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resumed(checkpoints / "step=2.ckpt")
    assert not [str(warning.message) for warning in caught if "resum" in str(warning.message)]


def test_a_fit_after_a_test_from_a_checkpoint_begins_at_the_beginning(stopped):
    whole, checkpoints = stopped()
    module, source = Recorder(), data(test_split="train[:4]")
    trainer().test(module, datamodule=source, ckpt_path=str(checkpoints / "step=2.ckpt"), verbose=False)
    run(module, source, max_epochs=1)
    assert module.seen["train"] == whole[:BATCHES]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_pairs": 5}, "written with batch_pairs 4, this run has 5"),
        ({**TOKENS, "batch_tokens": 90}, "written with batch_pairs 4, this run has None"),
        ({"seed": 1}, "written with seed 0, this run has 1"),
        ({"length_grouped": False}, "written with length_grouped True, this run has False"),
        ({"train_split": "train[:20]"}, "written with pairs 22, this run has 20"),
    ],
)
@pytest.mark.parametrize("step", [2, 6])
def test_another_order_is_refused(stopped, changed, message, step):
    _, checkpoints = stopped()
    with pytest.raises(InputError, match=message):
        resumed(checkpoints / f"step={step}.ckpt", data=changed)


def test_other_pairs_of_the_same_number_are_refused(stopped):
    _, checkpoints = stopped()
    module, source = Recorder(), data(Dataset.from_list([{**row, "chosen": " other"} for row in rows()]))
    with pytest.raises(InputError, match=r"written with content [0-9a-f]{32}, this run has [0-9a-f]{32}"):
        run(module, source, str(checkpoints / "step=2.ckpt"))
    with pytest.raises(InputError, match="written with accumulate_grad_batches 1, this run has 2"):
        resumed(checkpoints / "step=2.ckpt", accumulate_grad_batches=2)


@pytest.mark.parametrize(("step", "epoch"), [(1, 1), (5, 1), (6, 1), (8, 2), (11, 2)])
@pytest.mark.parametrize("reads_steps", [False, True])
def test_the_rest_of_the_epoch_can_be_left_out(stopped, step, epoch, reads_steps):
    whole, checkpoints = stopped()
    changed = {"batch_pairs": 5, "resume": "next_epoch"}
    module = Recorder()
    run(module, data(batch_pairs=5))
    per_epoch = len(module.seen["train"]) // 3
    expected = module.seen["train"][epoch * per_epoch :]
    assert resumed(checkpoints / f"step={step}.ckpt", reads_steps, data=changed) == expected
    same = resumed(checkpoints / f"step={step}.ckpt", reads_steps, data={"resume": "next_epoch"})
    assert same == whole[epoch * BATCHES :]


def test_a_layout_that_changes_the_order_is_refused_and_another_one_is_not(tmp_path):
    checkpoint = str(tmp_path / "step=2.ckpt")
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    whole = Fits()
    run(whole, data(length_grouped=None), callbacks=[saving], enable_checkpointing=True, max_epochs=1)
    with pytest.raises(InputError, match="written with length_grouped False, this run has True"):
        run(Fits(), data(length_grouped=None, layout="padded"), checkpoint)
    rest = Fits()
    run(rest, data(length_grouped=False, layout="padded"), checkpoint, max_epochs=1)
    assert rest.seen["train"] == whole.seen["train"][2:]


def test_another_order_does_not_matter_to_an_evaluation(stopped):
    _, checkpoints = stopped()
    module = Recorder()
    source = data(batch_pairs=5, val_split="train[:5]")
    trainer().validate(module, datamodule=source, ckpt_path=str(checkpoints / "step=2.ckpt"), verbose=False)
    assert module.seen["val"] == [[0, 1, 2, 3, 4]]


class Losses(pl.Callback):
    """The loss of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(outputs["loss"].item())


@pytest.mark.parametrize("step", [3, 6, 8])
def test_a_resumed_preference_run_has_the_losses_of_one_that_was_not_interrupted(tmp_path, step):
    def fit(callbacks: list[pl.Callback], ckpt_path: str | None = None) -> None:
        module = PreferenceModule(
            tiny_llama(), optimizer=lambda params: torch.optim.AdamW(params, lr=1e-2, weight_decay=0.0)
        )
        fit = trainer(max_epochs=2, max_steps=-1, callbacks=callbacks, enable_checkpointing=ckpt_path is None)
        fit.fit(module, datamodule=data(), ckpt_path=ckpt_path)

    whole, rest = Losses(), Losses()
    fit([whole, ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=step, save_top_k=-1)])
    fit([rest], str(tmp_path / f"step={step}.ckpt"))
    assert len(set(whole.seen)) == 2 * BATCHES
    assert rest.seen == whole.seen[step:]
