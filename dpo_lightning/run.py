"""The interface of a run: all that callbacks and checkpoints ask of the module that trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
from torch import nn
from torchmetrics import Metric

from dpo_lightning.batch import PreferenceBatch, TokenizedExample, preference_batch_by, preference_batch_in
from dpo_lightning.data.interfaces import PreferenceSource
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective
from dpo_lightning.losses.scores import Scores
from dpo_lightning.reference import BoundReference, Identity, Precomputed, Reference
from dpo_lightning.training.baseline import RunningMean
from dpo_lightning.training.comparison import Comparison


class HeldArguments(NamedTuple):
    """The arguments of a module's constructor, as a checkpoint has them.

    Attributes:
        plain: Those in plain form, by name.
        whole: Whole forms, by name, of those of which the plain one does not say all.
        lost: Those that a checkpoint cannot hold, by name with the class of each.
    """

    plain: Mapping[str, Any]
    whole: Mapping[str, Any]
    lost: Mapping[str, str]


class PreferenceRun(ABC):
    """A module that trains a policy on preferences; `PreferenceModule` implements it.

    Attributes:
        objective: The loss, with its settings.
        comparison: How examples are scored, watched and predicted, by what the objective compares.
        reference_settings: The reference before it was bound; None for the default one.
        running_mean: The mean over the training that the objective reads.
        examples_of_loaders: Examples of loaders of the user's own, which a `Precomputed` reference scores too.
        resume: `exact` refuses settings that differ from those of a checkpoint, `changed` applies them.
        held: Arguments of the constructor, as a checkpoint has them.
        found_batch: The batch of which `preference_batch` was asked last, with the answer; None between two batches.
        predicted_scores: The batch that was predicted last, with its scores; None between two batches.
    """

    objective: AnyObjective
    comparison: Comparison
    reference_settings: Reference | None
    running_mean: RunningMean
    examples_of_loaders: list[Sequence[TokenizedExample]]
    resume: str
    held: HeldArguments = HeldArguments({}, {}, {})
    found_batch: tuple[Any, PreferenceBatch | None] | None = None
    predicted_scores: tuple[PreferenceBatch, Scores] | None = None

    @property
    def not_held(self) -> Mapping[str, str]:
        """Arguments of the constructor that no checkpoint can hold, such as functions, by name with their class."""
        return self.held.lost

    @property
    @abstractmethod
    def policy(self) -> nn.Module:
        """Model that is trained.

        Raises:
            NotBuiltError: before it was built.
        """

    @property
    @abstractmethod
    def reference(self) -> BoundReference:
        """The reference, bound to the policy.

        Raises:
            NotBuiltError: before it was bound.
        """

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """Policy and reference as they were before training.

        Raises:
            NotBuiltError: before they were built.
        """

    @property
    @abstractmethod
    def checkpointing(self) -> bool | str:
        """Share of the forward that the backward computes again: none, all, or as a name says."""

    @property
    @abstractmethod
    def reads_reference(self) -> bool:
        """True where the objective compares with a reference."""

    @property
    @abstractmethod
    def reads_baseline(self) -> bool:
        """True where the objective reads a mean over batches, which a checkpoint then holds."""

    @abstractmethod
    def preference_batch(self, batch: Any) -> PreferenceBatch | None:
        """Return the preference batch in what a loader yields; None where there is none."""

    @abstractmethod
    def score(self, batch: PreferenceBatch) -> Scores:
        """Return the scores of a batch under policy and reference."""

    @abstractmethod
    def with_baseline(self, scores: Any, *, moves: bool = False) -> Any:
        """Return the scores with the means over ranks and batches that the objective reads; every rank must call."""

    @abstractmethod
    def lacks_a_reference(self, batch: PreferenceBatch) -> bool:
        """Return whether losses are NaN since they read a reference that is not scored; every rank must call."""

    @abstractmethod
    def whole_policy(self) -> nn.Module | None:
        """Return the policy with all its weights, of a sharded one on rank 0 only; every rank must call."""

    @abstractmethod
    def policy_again(self) -> nn.Module:
        """Return the policy as it was before training, loaded once more."""

    @abstractmethod
    def lose_reference(self, why: str) -> None:
        """Leave the reference out, which refuses to score from now on."""

    @abstractmethod
    def original_config(self) -> dict[str, Any] | None:
        """Return the model's config as it was given; None where it has none."""

    @abstractmethod
    def names_read(self) -> list[str]:
        """Return the names and directories of the models that the run begins with, the reference's too."""

    @abstractmethod
    def lost_base(self) -> str | None:
        """Return why the base model of the policy's adapter can be loaded from nowhere; None where it can."""

    @abstractmethod
    def step_metrics(self) -> dict[str, Metric]:
        """Return the metrics that a training step adds to, by the names of their attributes."""


def run_of(pl_module: pl.LightningModule, asked_by: str) -> PreferenceRun:
    """Return the module of a run to a callback that needs one.

    Args:
        pl_module: The module that Lightning hands to its callbacks.
        asked_by: The callback, as the message names it.

    Raises:
        InputError: for a module that is no `PreferenceRun`.
    """
    if not isinstance(pl_module, PreferenceRun):
        raise InputError(
            f"{asked_by} works with a PreferenceModule, and the run's module is {type(pl_module).__name__}: leave the "
            "callback out, or derive the module from PreferenceModule"
        )
    return pl_module


def preference_batch_of(pl_module: pl.LightningModule, batch: Any) -> PreferenceBatch | None:
    """Return the preference batch in a batch to a callback, as the run's module finds it; None where there is none.

    The module is asked once for all callbacks before its step, and once by the step, whose answer those after it get:
    a `preference_batch` that draws random numbers draws as many with any callbacks.

    Raises:
        InputError: where the module cannot say which one it is.
    """
    if isinstance(batch, PreferenceBatch):
        return batch
    if not isinstance(pl_module, PreferenceRun):
        return preference_batch_in(batch)
    known = pl_module.found_batch
    if known is None or known[0] is not batch:
        known = batch, preference_batch_by(pl_module.preference_batch, batch)
        pl_module.found_batch = known
    return known[1]


def forget_batch(pl_module: pl.LightningModule) -> None:
    """Let go of the batch that `preference_batch_of` and `scores_of` remember, at its end."""
    if isinstance(pl_module, PreferenceRun):
        pl_module.found_batch = pl_module.predicted_scores = None


def scores_of(run: PreferenceRun, batch: PreferenceBatch) -> Scores:
    """Return the scores of a batch that was predicted; a `predict_step` of one's own may not have kept them."""
    known = run.predicted_scores
    return known[1] if known is not None and known[0] is batch else run.score(batch)


def reference_in_the_step(run: PreferenceRun) -> bool:
    """Return whether a training step scores the reference too; a `Precomputed` one is scored before."""
    return run.reads_reference and not isinstance(run.reference_settings, Precomputed)


def source_of(trainer: pl.Trainer) -> PreferenceSource | None:
    """Return the DataModule of a run to a callback; None where it is of another kind, or the run has loaders."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    return data if isinstance(data, PreferenceSource) else None


def resume_mode(pl_module: pl.LightningModule) -> str:
    """Return `PreferenceRun.resume`; `exact` of a module that is no run."""
    return pl_module.resume if isinstance(pl_module, PreferenceRun) else "exact"
