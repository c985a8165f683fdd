"""A run of the frontier: train an objective on the lab's pairs, and measure the policy by sampling from it."""

from __future__ import annotations

import json
import logging
import time
import typing
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.optim import AdamW

from benchmarks.frontier.catalogue import Entry
from benchmarks.frontier.measure import Measurement, measure
from dpo_lightning.data import Format, RowFormat, ScoredListFormat
from dpo_lightning.errors import InputError
from dpo_lightning.lab.datamodule import LabDataModule
from dpo_lightning.lab.policy import PolicyRecipe
from dpo_lightning.losses import SFT, Compares
from dpo_lightning.module import PreferenceModule
from dpo_lightning.training.schedules import Cosine
from dpo_lightning.utils.logs import log_level

_DRAWN = 2  # held-out pairs a prompt: among 512 of them are 300 different prompts


@dataclass(frozen=True)
class Protocol:
    """Settings that every run has in common.

    Args:
        pairs: Training pairs, each read once.
        prompts: Different prompts that are sampled from; their scenes occur in no training pair.
        samples_per_prompt: Completions of each of these prompts.
        max_new_tokens: Most tokens of a completion; a proper one has about 40.
        batch_pairs: Pairs of an optimizer step; an unpaired objective has two rows for each.
        clip: Largest norm of the gradient.
        warmup: Fraction of the run over which the learning rate rises, before it falls along a cosine.
        recipe: How the starting policy is made.
    """

    pairs: int = 4000
    prompts: int = 256
    samples_per_prompt: int = 4
    max_new_tokens: int = 80
    batch_pairs: int = 16
    clip: float = 1.0
    warmup: float = 0.1
    recipe: PolicyRecipe = PolicyRecipe()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if min(self.pairs, self.prompts, self.samples_per_prompt) < 1:
            raise InputError(f"frontier: pairs and samples must be at least 1, got {self}")


class Task(NamedTuple):
    """A run to be made: an entry, and a seed."""

    entry: Entry
    seed: int
    protocol: Protocol

    @property
    def name(self) -> str:
        """Name in messages."""
        return self.entry.name

    def key(self) -> str:
        """Return `settings` as text."""
        return json.dumps(self.settings(), sort_keys=True)

    def settings(self) -> dict[str, Any]:
        """Return all that the result depends on, in the types of JSON."""
        return {**self.entry.settings(), "seed": self.seed, "protocol": asdict(self.protocol)}


def key_of_mean(entry: Entry, seeds: Sequence[int], protocol: Protocol) -> str:
    """Return the key of a mean over the runs of these seeds, kept where the runs themselves are not."""
    return json.dumps({**Task(entry, 0, protocol).settings(), "seed": [*seeds]}, sort_keys=True)


class Described(typing.Protocol):
    """What was run, and all that its result depends on."""

    @property
    def name(self) -> str:
        """Name in messages."""

    def key(self) -> str:
        """Return `settings` as text."""

    def settings(self) -> dict[str, Any]:
        """Return all that the result depends on, in the types of JSON."""


class Run(NamedTuple):
    """Result of a task, and how many seconds it took."""

    task: Described
    measurement: Measurement
    seconds: float


def prepare_world(root: Path, protocol: Protocol, lists: Iterable[int] = ()) -> None:
    """Make the pairs and the starting policy unless they are there, and tokenise them once for all runs.

    Args:
        root: Directory of the lab; those of lists are beside it.
        protocol: What all runs have in common.
        lists: How many completions a list has, for each lab of lists that a run reads.

    Raises:
        InputError: when `root` is there and holds no lab, or the lab has too few prompts.
    """
    data = lab_data(root, protocol, RowFormat(), seed=0)
    data.prepare_data()
    held_out_prompts(data, protocol)
    for completions in sorted(set(lists)):
        rows = ScoredListFormat(score="true_rewards")
        lab_data(root, protocol, rows, seed=0, completions=completions).prepare_data()


def run_task(task: Task, root: Path) -> Run:
    """Train and measure; the global random state stays as it was.

    Args:
        task: What to run.
        root: Directory of the lab that `prepare_world` has made.
    """
    begin = time.monotonic()
    with isolate_rng(include_cuda=False), log_level("lightning.pytorch", logging.ERROR):
        torch.default_generator.manual_seed(task.seed)
        measurement = _measured(task, root)
    return Run(task, measurement, time.monotonic() - begin)


def _measured(task: Task, root: Path) -> Measurement:
    entry, protocol = task.entry, task.protocol
    data = lab_data(root, protocol, entry.format, task.seed, entry.completions)
    module = _module(root, entry, protocol)
    if entry.objective is None:
        data.prepare_data()
        module.configure_model()
    else:
        trainer_of(entry.callbacks(), protocol).fit(module, datamodule=data)
    return measure(
        module.policy,
        module.policy_again(),
        data.tokenizer,
        held_out_prompts(_held_out(root, protocol, data), protocol),
        samples_per_prompt=protocol.samples_per_prompt,
        max_new_tokens=protocol.max_new_tokens,
        seed=task.seed,
    )


def _held_out(root: Path, protocol: Protocol, data: LabDataModule) -> LabDataModule:
    """Return the data of the pairs, whose held-out prompts all runs are measured on."""
    if data.root == root:
        return data
    pairs = lab_data(root, protocol, RowFormat(), seed=0)
    pairs.prepare_data()
    pairs.setup("validate")
    return pairs


def held_out_prompts(data: LabDataModule, protocol: Protocol) -> list[tuple[int, ...]]:
    """Return the token ids of the different prompts that all runs are measured on.

    Raises:
        InputError: where the lab has too few of them.
    """
    different = list(dict.fromkeys(tuple(ids) for ids in data.prompts("val")))
    if len(different) < protocol.prompts:
        raise InputError(f"frontier: the lab has {len(different)} held-out prompts, not {protocol.prompts}")
    return different[: protocol.prompts]


def lab_data(
    root: Path, protocol: Protocol, row_format: Format, seed: int, completions: int | None = None
) -> LabDataModule:
    """Return the lab's data as an entry reads it; lists are as many fewer as they are longer than a pair."""
    rows_of_a_pair = 2 if row_format.gives is Compares.LABELLED else 1
    shorter = (completions or 2) // 2
    return LabDataModule(
        str(root if completions is None else root.with_name(f"{root.name}-lists-of-{completions}")),
        train_pairs=protocol.pairs // shorter,
        val_pairs=_DRAWN * protocol.prompts,
        recipe=protocol.recipe,
        completions=completions,
        format=row_format,
        batch_pairs=max(1, rows_of_a_pair * protocol.batch_pairs // shorter),
        length_grouped=False,
        seed=seed,
    )


def _module(root: Path, entry: Entry, protocol: Protocol) -> PreferenceModule:
    return PreferenceModule(
        str(root / "policy"),
        entry.objective or SFT(),
        optimizer=partial(AdamW, lr=entry.learning_rate, weight_decay=0.0),
        schedule=Cosine(warmup=protocol.warmup),
    )


def trainer_of(callbacks: list[pl.Callback], protocol: Protocol) -> pl.Trainer:
    """Return a Trainer of one pass on one CPU, which writes and shows nothing."""
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        gradient_clip_val=protocol.clip,
        limit_val_batches=0,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
