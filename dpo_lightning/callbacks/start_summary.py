"""The lines that say what a fit will do, before its first step."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from dpo_lightning.callbacks.run_cost import cost_of
from dpo_lightning.callbacks.run_facts import facts_of, readable
from dpo_lightning.data import PreferenceDataModule
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.loader import LazyLoader
from dpo_lightning.losses import Compares
from dpo_lightning.policy.coverage import coverage
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.report.run_start import Plan, start_lines
from dpo_lightning.run import PreferenceRun
from dpo_lightning.training.schedules import optimizer_steps
from dpo_lightning.utils.files import from_here
from dpo_lightning.utils.text import one_line
from dpo_lightning.utils.trainers import run_directory

_WIDEST = 120  # columns: longer lines are hard to read
_KINDS = {Compares.LABELLED: "completions", Compares.LISTS: "lists"}


class StartSummary(pl.Callback):
    """Says, before the first step, what the fit will do and where its files will lie; `PreferenceModule` adds it.

    Examples and what was dropped of them, steps and tokens, layout, model and what is trained of it, reference,
    objective, optimizer, device; on a GPU the memory and the time that are expected. Rank 0 says it.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what can be read of it."""
        if cast(Any, trainer).barebones:
            return
        width = min(shutil.get_terminal_size().columns, _WIDEST) - 1  # a full row wraps in some terminals
        directory = run_directory(trainer)
        try:
            lines = start_lines(facts_of(trainer, pl_module), planned(trainer, pl_module, directory), width)
        except Exception as error:  # a run is more than what is said of it
            lines = [f"what the run will do cannot be said: {one_line(error)}"]
        rank_zero_info("\n".join(lines))


def planned(trainer: pl.Trainer, pl_module: pl.LightningModule, directory: Path) -> Plan:
    """Return what is known of a fit beside its facts; what cannot be read is left out.

    Args:
        trainer: The Trainer, in a hook of the training.
        pl_module: The module that it trains.
        directory: Directory of the run.
    """
    run = pl_module if isinstance(pl_module, PreferenceRun) else None
    epochs, path = trainer.max_epochs, trainer.ckpt_path
    known = readable(
        {
            "epochs": lambda: epochs if epochs and epochs > 0 else None,
            "resumed": lambda: None if path is None else (from_here(path), trainer.global_step),
            "coverage": lambda: _covered(run),
            "schedule": lambda: _schedule(pl_module),
            "processes": lambda: type(trainer.strategy).__name__.removesuffix("Strategy"),
            "places": lambda: _places(trainer, directory),
            "data": lambda: _of_data(trainer, run),
        }
    )
    return Plan(**known.pop("data", {}), **known)


def _of_data(trainer: pl.Trainer, run: PreferenceRun | None) -> dict[str, Any]:
    """Return what a `PreferenceDataModule` knows, and what follows from it; nothing of data of another kind."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, PreferenceDataModule):
        return {}
    read = data.read_by_module
    compares = Compares.PAIRS if read is None else read.compares
    sets = {name: len(data.splits[key]) for name, key in data.splits.sets("val").items()}
    known: dict[str, Any] = {"kind": _KINDS.get(compares, "pairs"), "sets": sets, "dropped": data.notes.all_dropped()}
    loader = cast(Any, trainer).train_dataloader
    accumulate = trainer.accumulate_grad_batches
    if data.streaming:
        pairs = data.batching.batch_pairs
        return {**known, "streams": True, "step_examples": pairs and pairs * accumulate * trainer.world_size}
    if not isinstance(loader, LazyLoader):
        return {**known, "train": len(data.splits["train"])}
    batches = loader.sampler.micro_batches()
    lengths = data.splits.lengths("train").first(compares.most_completions)
    tree = data.settled_layout().name == "tree"
    read_of_epoch = min(float(trainer.num_training_batches), len(loader)) / len(loader)  # `limit_train_batches`
    rows = np.concatenate(batches)
    known |= {
        "train": len(rows),
        "tokens": round(int(tokens_of(lengths, tree)[rows].sum()) * read_of_epoch),
        "step_examples": len(rows) / len(loader) * accumulate,
        "steps_of_epoch": max(-(-round(len(loader) * read_of_epoch) // accumulate), 1),
    }
    return {**known, **readable({"cost": lambda: _needs(trainer, run, lengths, batches, tree)}).get("cost", {})}


def _needs(
    trainer: pl.Trainer, run: PreferenceRun | None, lengths: Lengths, batches: list[Any], tree: bool
) -> dict[str, Any]:
    """Return memory and time that are expected; nothing where nobody knows."""
    cost = None if run is None else cost_of(trainer, run, lengths, batches, tree=tree)
    if cost is None:
        return {}
    left = optimizer_steps(trainer) - trainer.global_step
    seconds = None if cost.step_seconds is None or math.isinf(left) else cost.step_seconds * left
    return {"memory": cost.memory, "seconds": seconds}


def tokens_of(lengths: Lengths, tree: bool) -> Any:
    """Return the tokens of each row that the model sees, without padding: the prompt once, or with each completion."""
    return lengths.tokens if tree else lengths.tokens + lengths.prompt * (lengths.sequences - 1)


def _covered(run: PreferenceRun | None) -> float | None:
    if run is None or not is_adapted(run.policy):
        return None
    found = coverage(run.policy)
    return found.covered / found.weights


def _schedule(pl_module: pl.LightningModule) -> str | None:
    """Return the schedule of a `PreferenceModule` as one writes it."""
    given: Any = cast(Any, pl_module.hparams).get("schedule") if isinstance(pl_module, PreferenceRun) else None
    if not isinstance(given, Mapping):
        return None if given is None else str(given)
    settings = [f"{name}={value}" for name, value in given.get("init_args", {}).items() if value]
    name = str(given["class_path"]).rpartition(".")[2]
    return f"{name}({', '.join(settings)})" if settings else name


def _places(trainer: pl.Trainer, directory: Path) -> Mapping[str, str]:
    checkpoints = [
        from_here(each.dirpath)
        for each in cast(Any, trainer).checkpoint_callbacks
        if isinstance(each, ModelCheckpoint) and each.dirpath is not None
    ]
    return {"files in": from_here(directory), "saves to": ", ".join(checkpoints) or "nowhere: no checkpoints are kept"}
