"""The Trainer's flags on a preference run."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins import AsyncCheckpointIO
from torch.optim import SGD, AdamW

from dpo_lightning import LoRA
from tests.helpers import runs


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        ({"fast_dev_run": True}, 1),
        ({"fast_dev_run": 3}, 3),
        ({"overfit_batches": 2}, 4),
        ({"limit_train_batches": 2, "limit_val_batches": 1}, 4),
        ({"limit_train_batches": 0.5, "limit_val_batches": 0.5}, 6),
        ({"limit_val_batches": 0}, 12),
        ({"max_steps": 5, "max_epochs": -1}, 5),
        ({"min_steps": 14, "max_epochs": 3}, 18),
        ({"max_time": timedelta(minutes=5)}, 12),
        ({"max_time": timedelta(seconds=0)}, 0),
        ({"accumulate_grad_batches": 4}, 4),
        ({"num_sanity_val_steps": 0}, 12),
        ({"num_sanity_val_steps": -1}, 12),
        ({"detect_anomaly": True}, 12),
        ({"deterministic": True}, 12),
        ({"benchmark": True}, 12),
        ({"inference_mode": False}, 12),
        ({"use_distributed_sampler": False}, 12),
        ({"reload_dataloaders_every_n_epochs": 1}, 12),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_a_flag_does_what_it_says(run, flags, steps):
    assert run(**flags).trainer.global_step == steps


def test_a_run_has_its_least_steps_whatever_would_stop_it(run):
    stop = EarlyStopping("val/loss", patience=1, min_delta=1e9)
    assert run(stop, min_steps=5, max_epochs=9, limit_train_batches=2).trainer.global_step == 5
    stop = EarlyStopping("val/loss", patience=1, min_delta=1e9)
    assert run(stop, min_epochs=3, max_epochs=9, limit_train_batches=2).trainer.current_epoch == 3


@pytest.mark.parametrize("clip", [{"gradient_clip_val": 1e-3}, {"gradient_clip_algorithm": "value"}], ids=str)
def test_gradients_are_clipped(run, clip):
    module = runs.module(optimizer=partial(SGD, lr=1.0))
    before = [weight.detach().clone() for weight in module.parameters()]
    run(module=module, max_epochs=-1, max_steps=1, **{"gradient_clip_val": 1e-5, **clip})
    moved = torch.cat([(a - b).flatten() for a, b in zip(module.parameters(), before, strict=True)]).detach()
    size = moved.norm() if "gradient_clip_algorithm" not in clip else moved.abs().max()
    assert size == pytest.approx(1e-5 if "gradient_clip_algorithm" in clip else 1e-3, rel=2e-2)


class Validations(pl.Callback):
    """Notes the optimizer steps at which validations end."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.steps += [] if trainer.sanity_checking else [trainer.global_step]


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        ({"val_check_interval": 2}, [2, 4, 6, 8, 10, 12]),
        ({"val_check_interval": 0.5}, [3, 6, 9, 12]),
        ({"val_check_interval": 5, "check_val_every_n_epoch": None}, [5, 10]),
        ({"val_check_interval": 8, "check_val_every_n_epoch": None}, [8]),
        ({"check_val_every_n_epoch": 2}, [12]),
        ({"val_check_interval": "00:00:00:00", "limit_train_batches": 2}, [1, 2, 3, 4]),
        ({"val_check_interval": timedelta(hours=1)}, []),
    ],
    ids=str,
)
def test_validations_come_when_they_are_due(run, flags, steps):
    validations = Validations()
    run(validations, **flags)
    assert validations.steps == steps


def test_a_checkpoint_that_is_written_beside_the_training_is_of_its_step(run, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", filename="{step}", every_n_train_steps=2, save_top_k=-1)
    beside = {"plugins": [AsyncCheckpointIO()], "enable_checkpointing": True}
    whole = run(keep, module=runs.module(lr=1e-2), max_epochs=1, **beside)
    rest = run(module=runs.module(lr=1e-2), max_epochs=1, ckpt_path=str(tmp_path / "kept/step=4.ckpt"))
    assert rest.losses == whole.losses[4:]


@pytest.mark.parametrize("interval", [0, 1, 4, 50])
def test_the_means_of_the_training_are_there_at_the_end_of_an_epoch(run, interval):
    class Reads(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if not trainer.sanity_checking:
                seen.append(float(trainer.callback_metrics["train/loss"]))

        def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            seen.append(float(trainer.callback_metrics["train/loss"]))

    seen: list[float] = []
    fitted = run(Reads(), log_every_n_steps=interval)
    assert len(seen) == 4
    # Over the examples since the last log: of interval 4, those of steps 5 and 6, and at the end of 9 to 12.
    first = {0: 0, 1: 11, 4: 8, 50: 0}[interval]
    assert seen[-1] == pytest.approx(sum(fitted.losses[first:]) / len(fitted.losses[first:]), rel=1e-5)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("validates", [True, False], ids=["validation", "no validation"])
@pytest.mark.parametrize(
    "callback",
    [
        lambda path: EarlyStopping("train/loss", check_on_train_epoch_end=True),
        lambda path: EarlyStopping("train/loss"),
        lambda path: ModelCheckpoint(path, monitor="train/loss"),
        lambda path: ModelCheckpoint(path, monitor="train/loss", every_n_train_steps=2),
    ],
    ids=["stops", "stops at validations", "saves", "saves steps"],
)
def test_callbacks_monitor_the_training_whatever_the_interval(run, tmp_path, callback, validates):
    source = runs.data(tmp_path) if validates else runs.data(tmp_path, val_split=None)
    fitted = run(callback(tmp_path / "kept"), data=source, log_every_n_steps=50, enable_checkpointing=True)
    assert fitted.trainer.global_step == 12


@pytest.mark.filterwarnings("ignore")
def test_barebones(tmp_path):
    trainer = pl.Trainer(barebones=True, max_epochs=1, accelerator="cpu", default_root_dir=tmp_path)
    trainer.fit(runs.module(), runs.data(tmp_path))
    assert trainer.global_step == 6


@pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["whole", "LoRA"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true", "16-mixed", "16-true"])
@pytest.mark.filterwarnings("ignore")
def test_a_precision_trains_and_its_checkpoint_loads(run, tmp_path, precision, lora):
    optimizer = partial(AdamW, lr=1e-4, eps=1e-4)  # the default eps is 0 in float16
    module = runs.module(lora=lora, optimizer=optimizer)
    fitted = run(module=module, precision=precision, gradient_clip_val=1.0, max_epochs=1)
    assert fitted.trainer.global_step == 6
    fitted.trainer.save_checkpoint(tmp_path / "saved.ckpt")
    again = runs.trainer(precision=precision)
    (values,) = again.validate(
        runs.module(lora=lora), runs.data(tmp_path), ckpt_path=tmp_path / "saved.ckpt", verbose=False
    )
    assert values["val/loss"] == pytest.approx(fitted.metrics["val/loss"], rel=1e-3)
