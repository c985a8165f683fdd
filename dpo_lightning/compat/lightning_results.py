"""Values that were logged since an epoch began, from which Lightning makes its means at the epoch's end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import (
    _Metadata,
    _ResultCollection,
    _ResultMetric,
    _Sync,
)
from torch import Tensor

from dpo_lightning.compat.torchmetrics import set_update_count

_FLAGS = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "add_dataloader_idx", "metric_attribute")
_SUMS = ("value", "cumulated_batch_size", "_forward_cache")


def logged_so_far(trainer: pl.Trainer) -> dict[str, dict[str, Any]]:
    """Return what `self.log` has collected in the training epoch, in plain types; of metric objects only their names.

    Touches `_TrainingEpochLoop._results` and what is in it, which no checkpoint of Lightning's holds: without it, a run
    that goes on within an epoch has other means at its end.
    """
    return {key: _plain(each) for key, each in _entries(trainer.fit_loop.epoch_loop._results)}


def log_on(trainer: pl.Trainer, logged: dict[str, dict[str, Any]]) -> None:
    """Go on within an epoch with what it had collected; the first log call of a value says its flags anew.

    Touches `_LoggerConnector._first_loop_iter` too: in the first batch of an epoch, older values are forgotten.
    """
    trainer._logger_connector._first_loop_iter = False
    results = trainer.fit_loop.epoch_loop._results
    modules = dict(trainer.lightning_module.named_modules())
    for key, state in logged.items():
        attribute = state["metric_attribute"]
        if attribute is not None and attribute not in modules:
            continue
        meta = _Noted(**{name: state[name] for name in _FLAGS}, reduce_fx=getattr(torch, state["reduce_fx"]))
        meta.sync = _Sync(_should=state["sync"], fn=trainer.strategy.reduce, rank_zero_only=state["rank_zero_only"])
        meta.begin_anew = _beginner(results, key)
        results[key] = entry = _ResultMetric(meta, attribute is None)
        for name in _SUMS:
            if name in state:
                setattr(entry, name, state[name].to(trainer.strategy.root_device))
        if attribute is not None:
            entry.value = modules[attribute]
        set_update_count(entry, 1)


def metrics_to_be_reset(trainer: pl.Trainer, *, epoch_ends: bool) -> set[str]:
    """Return the names of the module's metric objects that Lightning resets once the hooks of an end are done.

    Args:
        trainer: In a hook of the fit.
        epoch_ends: Whether that is the training epoch's; the validation's in any case.
    """
    loop = trainer.fit_loop.epoch_loop
    ended = [loop.val_loop._results, *([loop._results] if epoch_ends else [])]
    return {str(each.meta.metric_attribute) for results in ended for _, each in _entries(results) if not each.is_tensor}


def _entries(results: _ResultCollection) -> Iterator[tuple[str, _ResultMetric]]:
    return ((key, each) for key, each in results.items() if not each.has_reset)


def _plain(entry: _ResultMetric) -> dict[str, Any]:
    meta = entry.meta
    state = {name: getattr(meta, name) for name in _FLAGS}
    state |= {
        "reduce_fx": meta.reduce_fx.__name__,
        "sync": meta.sync.should,
        "rank_zero_only": meta.sync.rank_zero_only,
    }
    sums = {name: getattr(entry, name, None) for name in (_SUMS if meta.on_epoch else _SUMS[-1:])}
    if meta.sync.should and isinstance(count := sums.get("cumulated_batch_size"), Tensor):
        sums["cumulated_batch_size"] = count.clone()  # ranks are summed up in place; the others are replaced
    return {**state, **{name: each.detach() for name, each in sums.items() if isinstance(each, Tensor)}}


class _Noted(_Metadata):
    """Flags as a checkpoint says them, until a log call compares its own with them, which then stand in their place."""

    begin_anew: Callable[[_Metadata], None]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Metadata):
            return NotImplemented
        is_object = (self.metric_attribute is None, other.metric_attribute is None)
        if self.reduce_fx is not other.reduce_fx or len(set(is_object)) > 1:
            self.begin_anew(other)
        vars(self).update(vars(other))
        self.__class__ = _Metadata  # type: ignore[assignment]
        return True

    __hash__ = None  # type: ignore[assignment]


def _beginner(results: _ResultCollection, key: str) -> Callable[[_Metadata], None]:
    def begin_anew(meta: _Metadata) -> None:
        results[key] = _ResultMetric(meta, meta.metric_attribute is None)

    return begin_anew
