"""The questions that DataModules, LightningModules and callbacks ask of each other, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from dpo_lightning.batch import Collate
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.dataset import ExampleDataset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PreferenceLearner(ABC):
    """The LightningModule that trains, as a `PreferenceDataModule` asks it.

    `PreferenceModule` is one. A LightningModule that is none is not asked: it gets padded batches of whole examples
    with all columns that the format names, and the DataModule needs a tokenizer of its own.

    Attributes:
        policy_name: Name or directory of the policy, from which a tokenizer can be had; None if it has none.
    """

    policy_name: str | None

    @abstractmethod
    def data_read(self) -> DataRead:
        """Return what the loss reads of the data; asked before a row is read."""

    @abstractmethod
    def tree_problem(self) -> str | None:
        """Return why the tree layout is wrong for the loaded models, in one line, or None; asked before each loader."""

    @abstractmethod
    def with_reference(self, collate: Collate) -> Collate:
        """Return the collate function, or one whose batches bring the reference's values too; asked for each loader."""

    def vocabulary(self) -> int | None:
        """Return the rows of the model's embedding, before it is loaded too; None where that is not known."""
        return None

    def other_rows_problem(self) -> str | None:
        """Return why a run cannot go on with other rows than it began with, in one line; None where it can."""
        return None


class PreferenceSource(ABC):
    """The DataModule of a run, as callbacks ask it. `PreferenceDataModule` is one."""

    @property
    @abstractmethod
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the run."""

    @abstractmethod
    def examples_used(self, fn: str | None) -> list[ExampleDataset]:
        """Return the examples that `fit`, `validate`, `test` or `predict` reads, split by split."""

    @abstractmethod
    def prompts(self, split: str) -> list[list[int]]:
        """Return the token ids of the prompts of `train`, `val` or `test`, in order.

        Raises:
            InputError: when there is no such split.
        """
