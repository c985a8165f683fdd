"""What a checkpoint says of the moment at which it was taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from dpo_lightning.callbacks import ExactResume, ResumableCheckpoint
from dpo_lightning.callbacks.running_values import set_metric_states
from dpo_lightning.training import PairMean
from tests.helpers.runs import data, module, trainer

SAVES = {
    "steps": {"every_n_train_steps": 1},
    "validations": {"every_n_epochs": 1, "save_on_train_epoch_end": False},
    "epochs": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
}


class Counts(pl.Callback):
    """How often each hook was called in the whole run, stops and all; and the last validation loss."""

    def __init__(self) -> None:
        self.counts = {"batch": 0, "validation": 0, "epoch": 0}

    def on_train_batch_end(self, *_: Any) -> None:
        self.counts["batch"] += 1

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.counts["validation"] += not trainer.sanity_checking

    def on_train_epoch_end(self, *_: Any) -> None:
        self.counts["epoch"] += 1

    def state_dict(self) -> dict[str, Any]:
        return dict(self.counts)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.counts = dict(state_dict)


def fit(path: Path, callbacks: list[pl.Callback], ckpt_path: str | None = None, **settings: Any) -> pl.Trainer:
    runner = trainer(
        callbacks=callbacks,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        **{"max_epochs": 2, "max_steps": -1, "val_check_interval": 2, "num_sanity_val_steps": 0, **settings},
    )
    runner.fit(module(lr=1e-2), data(path, train_split="train[8:]"), ckpt_path=ckpt_path)
    return runner


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("saves", SAVES)
def test_no_hook_is_missed_or_called_twice(tmp_path, saves, accumulate):
    whole = Counts()
    every = ModelCheckpoint(tmp_path / "all", "{step}-{epoch}", save_top_k=-1, **SAVES[saves])
    fit(tmp_path, [whole, every], accumulate_grad_batches=accumulate)
    assert whole.counts == {"batch": 8, "validation": 4, "epoch": 2}
    checkpoints = sorted((tmp_path / "all").glob("*.ckpt"))
    assert len(checkpoints) >= 2
    for checkpoint in checkpoints:
        rest = Counts()
        fit(tmp_path, [rest], str(checkpoint), accumulate_grad_batches=accumulate)
        assert rest.counts == whole.counts, checkpoint.name


def test_the_end_of_the_last_step_can_be_saved_until_the_next_update_begins(tmp_path):
    class Fault(pl.Callback):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            exact = next(c for c in trainer.callbacks if isinstance(c, ExactResume))
            self.between = exact.can_save

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if trainer.global_step == 1:
                raise ValueError("in the middle")

    fault = Fault()
    runner = trainer(callbacks=[fault])
    with pytest.raises(ValueError, match="in the middle"):
        runner.fit(module(), data(tmp_path))
    exact = next(c for c in runner.callbacks if isinstance(c, ExactResume))  # type: ignore[attr-defined]
    assert fault.between
    assert exact.can_save  # the fault came before this callback's own hook: nothing had been updated


def test_weights_that_are_half_updated_cannot_be_saved(tmp_path):
    class Fault(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            raise ValueError("in the middle")

    model = module()
    model._optimizer = lambda params: Fault(params, lr=0.1)
    runner = trainer()
    with pytest.raises(ValueError, match="in the middle"):
        runner.fit(model, data(tmp_path))
    exact = next(c for c in runner.callbacks if isinstance(c, ExactResume))  # type: ignore[attr-defined]
    assert not exact.can_save


def test_a_checkpoint_in_the_middle_of_a_window_is_of_the_last_step(tmp_path):
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:  # the first of the second window of two
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    fit(tmp_path, [Save()], accumulate_grad_batches=2, max_epochs=1)
    saved = torch.load(tmp_path / "middle.ckpt", weights_only=True)
    progress = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    assert progress == {"ready": 2, "started": 2, "processed": 2, "completed": 2}
    assert saved["global_step"] == 1
    assert len(saved["callbacks"]["ExactResume"]["ranks"]) == 1


@pytest.mark.parametrize("kind", SAVES)
def test_a_validation_inside_an_accumulation_window_saves_no_half_window(tmp_path, kind):
    """Validations after batches 3 and 6 of windows of two: losses after each checkpoint are those of the whole run."""

    class Losses(pl.Callback):
        def __init__(self) -> None:
            self.seen: dict[int, float] = {}

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.seen[trainer.fit_loop.epoch_loop.total_batch_idx] = outputs["loss"].item()

    settings = {"accumulate_grad_batches": 2, "val_check_interval": 3, "check_val_every_n_epoch": None}
    whole = Losses()
    every = ModelCheckpoint(tmp_path / "all", "{step}-{epoch}", save_top_k=-1, **SAVES[kind])
    fit(tmp_path, [whole, every], **settings)
    checkpoints = sorted((tmp_path / "all").glob("*.ckpt"))
    assert checkpoints
    for checkpoint in checkpoints:
        rest = Losses()
        fit(tmp_path, [rest], str(checkpoint), **settings)
        saved = torch.load(checkpoint, weights_only=True)
        assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"] % 2 == 0
        assert rest.seen == {batch: loss for batch, loss in whole.seen.items() if batch in rest.seen}
        assert len(rest.seen) == len(whole.seen) - 2 * saved["global_step"]


def test_an_exception_at_the_start_of_an_epoch_leaves_no_epoch_out(tmp_path):
    class Fault(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == 1 and batch_idx == 0:  # the first of a window of two
                raise ValueError("a fault")

    saving = ResumableCheckpoint(str(tmp_path / "saved"), every_n_train_steps=100)
    with pytest.raises(ValueError, match="a fault"):
        fit(tmp_path, [Fault(), saving], accumulate_grad_batches=2)
    rest = Counts()
    runner = trainer(callbacks=[rest], max_epochs=2, max_steps=-1, accumulate_grad_batches=2)
    pairs = data(tmp_path, train_split="train[8:]", resume="next_epoch")
    runner.fit(module(lr=1e-2), pairs, ckpt_path=str(tmp_path / "saved/step=2.ckpt"))
    assert rest.counts["batch"] == 4  # the whole second epoch, which the fault had only begun


def test_early_stopping_finds_its_metric_at_the_end_of_a_resumed_epoch(tmp_path):
    def stopping() -> EarlyStopping:
        return EarlyStopping("val/loss", patience=1, mode="max")  # which falls: it stops after two epochs

    every = ModelCheckpoint(tmp_path / "all", "{step}", save_top_k=-1, every_n_epochs=1, save_on_train_epoch_end=False)
    whole = fit(tmp_path, [stopping(), every], max_epochs=4, val_check_interval=1.0)
    assert whole.global_step == 8
    rest = fit(tmp_path, [stopping()], str(tmp_path / "all/step=4.ckpt"), max_epochs=4, val_check_interval=1.0)
    assert rest.global_step == 8


def test_sums_of_other_values_begin_anew():
    before = {"train_metrics": {"updates": 3, "totals": torch.ones(4)}}
    held = torch.nn.ModuleDict({"train_metrics": PairMean()})

    set_metric_states(held, before)

    assert held["train_metrics"].update_count == 0
    assert held["train_metrics"].totals.sum() == 0
