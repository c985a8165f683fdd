"""What Lightning collects for an epoch's means, in a checkpoint and out of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultMetric
from torch import Tensor

from dpo_lightning import PreferenceModule
from dpo_lightning.compat.lightning_results import log_on, logged_so_far, metrics_to_be_reset
from tests.helpers.runs import data, trainer
from tests.helpers.tiny import tiny_llama


class Logs(PreferenceModule):
    """Logs numbers that are easy to add up; and looks at a moment."""

    reduce_fx = "mean"
    look: Any = None

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        flags = {"on_step": False, "on_epoch": True, "batch_size": 1, "prog_bar": batch_idx > 9}
        self.log("number", torch.tensor(float(batch_idx)), reduce_fx=self.reduce_fx, **flags)
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.look is not None:
            self.look(self.trainer, batch_idx)


def fitted(path: Any, look: Any, reduce_fx: str = "mean") -> Logs:
    module = Logs(tiny_llama())
    module.look, module.reduce_fx = look, reduce_fx
    trainer(max_steps=-1, max_epochs=1).fit(module, data(path))
    return module


@pytest.mark.parametrize(("reduce_fx", "expected"), [("mean", 2.5), ("sum", 15.0), ("max", 5.0), ("min", 0.0)])
def test_sums_go_on_from_a_checkpoint(tmp_path, reduce_fx, expected):
    """Six batches, of which the first three are collected, forgotten and put back."""

    def look(run: Any, batch_idx: int) -> None:
        if batch_idx == 2:
            state = logged_so_far(run)
            assert torch.load(_saved(state, tmp_path), weights_only=True).keys() == state.keys()
            run.fit_loop.epoch_loop._results.clear()
            log_on(run, state)

    found = fitted(tmp_path, look, reduce_fx).trainer.callback_metrics["number"]
    assert float(found) == expected


def test_other_flags_of_a_log_call_take_the_place_of_the_checkpoints(tmp_path):
    def look(run: Any, batch_idx: int) -> None:
        if batch_idx == 2:
            state = logged_so_far(run)
            state["training_step.number"] |= {"prog_bar": True, "reduce_fx": "sum"}  # where this run says mean
            run.fit_loop.epoch_loop._results.clear()
            log_on(run, state)

    found = fitted(tmp_path, look).trainer
    assert float(found.callback_metrics["number"]) == 4.0  # of 3, 4 and 5: sums of another kind mean nothing
    assert "number" not in found.progress_bar_metrics


def test_what_is_not_reset_yet_is_named(tmp_path):
    seen = []
    fitted(tmp_path, lambda run, _: seen.append(metrics_to_be_reset(run, epoch_ends=True)))
    assert seen == [set()] * 6  # it logs numbers, and no objects


def test_a_value_is_replaced_and_not_changed_where_it_is_added_to():
    """What a checkpoint holds is not copied: it must not change while the run goes on."""
    run = trainer()
    meta = _meta()
    entry = _ResultMetric(meta, is_tensor=True)
    run.fit_loop.epoch_loop._results["training_step.x"] = entry
    entry.forward(torch.tensor(1.0), 2)
    state = logged_so_far(run)["training_step.x"]
    entry.forward(torch.tensor(3.0), 2)
    entry.compute()
    entry.reset()
    assert (float(state["value"]), int(state["cumulated_batch_size"])) == (2.0, 2)


def _meta() -> Any:
    from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _Sync

    meta = _Metadata("training_step", "x")
    meta.sync = _Sync()
    return meta


def _saved(state: Any, path: Any) -> Any:
    torch.save(state, path / "state.pt")
    return path / "state.pt"
