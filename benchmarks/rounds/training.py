"""Rounds of an arm: pairs, one pass of DPO over them, and what the policy is then worth."""

from __future__ import annotations

import copy
import json
import logging
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn
from torch.optim import AdamW

from benchmarks.frontier.catalogue import LEARNING_RATE
from benchmarks.frontier.measure import Measurement, measure
from benchmarks.frontier.protocol import Protocol, Run, held_out_prompts, lab_data, trainer_of
from benchmarks.rounds.arms import Arm, Stage
from benchmarks.rounds.samples import Row, sampled_pairs
from dpo_lightning.data import PreferenceDataModule, RowFormat
from dpo_lightning.lab import LabDataModule
from dpo_lightning.losses import DPO
from dpo_lightning.module import PreferenceModule
from dpo_lightning.training.schedules import Cosine
from dpo_lightning.utils.logs import log_level

_COLUMNS = ("prompt", "chosen", "rejected")


def run_arm(arm: Arm, seed: int, protocol: Protocol, root: Path) -> Iterator[Run]:
    """Yield what the policy is worth after each round.

    Args:
        arm: What to run.
        seed: Seed of the samples, and of the order of pairs.
        protocol: What all runs have in common.
        root: Directory of the lab, which is there.
    """
    world = _World(root, protocol)
    policy = first = _load(root)
    for done in range(1, arm.rounds + 1):
        begin = time.monotonic()
        with isolate_rng(include_cuda=False), log_level("lightning.pytorch", logging.ERROR):
            torch.default_generator.manual_seed(seed)
            rows = world.rows(arm, done, seed, policy)
            policy = _trained(policy, first if arm.reference == "first" else policy, rows, arm, protocol, world, seed)
            measurement = world.measured(policy, first, seed)
        yield Run(Stage(arm, seed, done, protocol), measurement, time.monotonic() - begin)


def measure_first(protocol: Protocol, root: Path, arm: Arm, seed: int) -> Run:
    """Return what the first policy is worth."""
    begin, first = time.monotonic(), _load(root)
    measurement = _World(root, protocol).measured(first, first, seed)
    return Run(Stage(arm, seed, 0, protocol), measurement, time.monotonic() - begin)


class _World:
    """The lab's pairs and prompts.

    Args:
        root: Directory of the lab.
        protocol: What all runs have in common.
    """

    def __init__(self, root: Path, protocol: Protocol) -> None:
        self._root, self._protocol = root, protocol
        self._data: LabDataModule = lab_data(root, protocol, RowFormat(), seed=0)
        self._data.prepare_data()
        self._data.setup("fit")
        self.tokenizer = self._data.tokenizer
        self._held_out = held_out_prompts(self._data, protocol)

    def rows(self, arm: Arm, number: int, seed: int, policy: nn.Module) -> list[Row]:
        """Return the pairs of a round: its slice of the lab's, or those sampled for the prompts of that slice.

        The other slices follow, and all once more, for prompts of whose samples no pair can be made.
        """
        count = self._protocol.pairs // arm.rounds
        start = count * (number - 1)
        if arm.pairs == "world":
            lines = (self._root / "train.jsonl").read_text(encoding="utf-8").splitlines()[start : start + count]
            return [{name: row[name] for name in _COLUMNS} for row in map(json.loads, lines)]
        prompts = list(self._data.prompts("train"))
        prompts = 2 * (prompts[start:] + prompts[:start])
        most = self._protocol.max_new_tokens
        return sampled_pairs(
            policy,
            self.tokenizer,
            prompts,
            count,
            arm,
            max_new_tokens=most,
            seed=random.Random(f"{seed} {number}").randrange(2**31),
        )

    def measured(self, policy: nn.Module, first: nn.Module, seed: int) -> Measurement:
        """Sample from a policy for prompts of scenes that no pair is about."""
        return measure(
            policy,
            first,
            self.tokenizer,
            self._held_out,
            samples_per_prompt=self._protocol.samples_per_prompt,
            max_new_tokens=self._protocol.max_new_tokens,
            seed=seed,
        )


def _load(root: Path) -> nn.Module:
    from transformers import AutoModelForCausalLM

    model: nn.Module = AutoModelForCausalLM.from_pretrained(root / "policy")
    return model


def _trained(
    policy: nn.Module, reference: nn.Module, rows: list[Row], arm: Arm, protocol: Protocol, world: _World, seed: int
) -> nn.Module:
    """Return a copy of a policy after one pass of DPO; the policy itself stays as it was."""
    from datasets import Dataset

    module = PreferenceModule(
        copy.deepcopy(policy),
        DPO(arm.beta),
        reference,
        step_zero_check=False,  # the first policy is another model than that of a later round
        optimizer=partial(AdamW, lr=LEARNING_RATE, weight_decay=0.0),
        schedule=Cosine(warmup=protocol.warmup),
    )
    data: Any = PreferenceDataModule(
        Dataset.from_list(rows),
        world.tokenizer,
        batch_pairs=protocol.batch_pairs,
        length_grouped=False,
        seed=seed,
    )
    trainer_of([], protocol).fit(module, datamodule=data)
    return module.policy
