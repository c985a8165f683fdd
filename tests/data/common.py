"""A small run over pairs that shows which of them were seen, for the tests of the DataModule and its parts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from datasets import Dataset
from torch import nn

from dpo_lightning import DPO, PreferenceDataModule
from dpo_lightning.batch import Collate, PreferenceBatch
from dpo_lightning.data import PreferenceLearner
from dpo_lightning.data.compatibility import DataRead
from tests.helpers.runs import trainer
from tests.helpers.tiny import tiny_tokenizer

PAIRS, BATCH_PAIRS, BATCHES = 22, 4, 6


def rows(count: int = PAIRS, start: int = 0) -> list[dict[str, str]]:
    """Pairs of different lengths."""
    return [
        {"prompt": f"{'ab' * (n % 5)}:", "chosen": " yes" + "s" * (n % 7), "rejected": " no" + "o" * (n % 3)}
        for n in range(start, start + count)
    ]


# In place of a number of pairs.
TOKENS = {"batch_pairs": None, "length_grouped": None, "layout": "tree", "batch_tokens": 60}


def write(path: Path, content: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return str(path)


def rewrite(path: str, content: list[Any]) -> None:
    """Write anew, and certainly later."""
    before = os.stat(path).st_mtime
    write(Path(path), content)
    os.utime(path, (before + 10, before + 10))


def data(source: Any = None, **settings: Any) -> PreferenceDataModule:
    source = Dataset.from_list(rows()) if source is None else source
    return PreferenceDataModule(
        source, **{"tokenizer": tiny_tokenizer(), "batch_pairs": BATCH_PAIRS, "length_grouped": True, **settings}
    )


def ready(source: Any = None, **settings: Any) -> PreferenceDataModule:
    module = data(source, **settings)
    module.setup()
    return module


def ids(batches: Any) -> list[list[int]]:
    return [batch.row_ids.tolist() for batch in batches]


def flat(batches: Any) -> list[int]:
    return [pair for batch in ids(batches) for pair in batch]


class Recorder(pl.LightningModule):
    """Learns nothing and remembers the pairs of every batch."""

    def __init__(self, reads_steps: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        self.reads_steps = reads_steps
        self.seen: dict[str, list[list[int]]] = {"train": [], "val": [], "test": [], "predict": []}
        self.dtypes: set[torch.dtype] = set()

    def _see(self, stage: str, batch: PreferenceBatch) -> torch.Tensor:
        self.seen[stage].append(batch.row_ids.tolist())
        self.dtypes |= {value.dtype for value in batch if isinstance(value, torch.Tensor)}
        return self.layer.weight.sum()

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> torch.Tensor:
        return self._see("train", batch)

    def validation_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self._see("val", batch)

    def test_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        self._see("test", batch)

    def predict_step(self, batch: PreferenceBatch, batch_idx: int) -> torch.Tensor:
        self._see("predict", batch)
        return batch.row_ids

    def configure_optimizers(self) -> Any:
        if self.reads_steps:
            assert self.trainer.estimated_stepping_batches > 0  # makes Lightning build the training loader at once
        return torch.optim.SGD(self.parameters(), lr=0.0)


def run(module: Recorder, source: PreferenceDataModule, ckpt_path: str | None = None, **settings: Any) -> pl.Trainer:
    fit = trainer(**{"max_epochs": 3, "max_steps": -1, **settings})
    fit.fit(module, datamodule=source, ckpt_path=ckpt_path)
    return fit


MIXED = [
    *rows(5),
    {"prompt": "a", "chosen": "", "rejected": "b"},
    {"prompt": "a", "chosen": "same", "rejected": "same"},
    {"prompt": "a" * 40, "chosen": "b", "rejected": "c"},
    {"prompt": "", "chosen": "b", "rejected": "c"},
    {"prompt": "ab", "chosen": "c" * 50, "rejected": "d"},
    {"prompt": "ab", "chosen": "c" * 50, "rejected": "c" * 60},
    *rows(3),
]


class Fits(Recorder, PreferenceLearner):
    """Has an answer to the question after the layout, and notes when it was asked."""

    policy_name = None

    def __init__(self, problem: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.problem = problem
        self.asked_on: list[torch.device] = []
        self.trees: set[bool] = set()

    def tree_problem(self) -> str | None:
        self.asked_on.append(self.layer.weight.device)
        return self.problem

    def data_read(self) -> DataRead:
        return DataRead.by(DPO())

    def with_reference(self, collate: Collate) -> Collate:
        return collate

    def _see(self, stage: str, batch: PreferenceBatch) -> torch.Tensor:
        self.trees.add(batch.tree is not None)
        return super()._see(stage, batch)


def everywhere(module: Recorder, source: PreferenceDataModule) -> None:
    """Fit, validate, test and predict."""
    run(module, source, max_epochs=1)
    trainer().validate(module, datamodule=source, verbose=False)
    trainer().test(module, datamodule=source, verbose=False)
    trainer().predict(module, datamodule=source)
    assert all(module.seen.values())
