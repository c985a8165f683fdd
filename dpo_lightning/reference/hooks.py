"""The model hooks of a run's module: policy and reference are built once, and offered to those who ask."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.optim import Optimizer

from dpo_lightning.batch import Collate, PreferenceBatch, TokenizedExample
from dpo_lightning.compat.lightning import clipping_by, keep_frozen_weights
from dpo_lightning.compat.torch import ConvertedInside
from dpo_lightning.errors import InputError, NotBuiltError, RunError
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.modality import embedding_rows
from dpo_lightning.policy.prepare import float32_buffers_kept
from dpo_lightning.policy.recompute import Checkpointing, check_device
from dpo_lightning.policy.sharding import check_strategy
from dpo_lightning.policy.source import PolicySource
from dpo_lightning.reference.base import BoundReference, LostReference, Reference
from dpo_lightning.reference.identity import Identity
from dpo_lightning.reference.models import Place, RunModels
from dpo_lightning.reference.precomputed import Precomputed
from dpo_lightning.reference.settle import checkpoints_of
from dpo_lightning.utils.gradients import clip
from dpo_lightning.utils.trainers import attached_trainer, check_backbone

_READ_IN_SETUP = (BaseFinetuning, BatchSizeFinder, ModelPruning, StochasticWeightAveraging, WeightAveraging)
"""Callbacks that use the model or its loaders in their `setup`, which comes before `configure_model`."""

_BUILT = {"policy": "the model", "models": "the model", "reference": "the reference"}
_GIVEN = {
    **_BUILT,
    "reference_settings": "the reference",
    "objective": "the objective",
    "comparison": "the objective",
}
"""Attributes that others were made from, or that a checkpoint holds as they were given, and how to give them."""


class ModelHooks(ConvertedInside, pl.LightningModule):
    """The part of a run's module that builds policy and reference; `PreferenceModule` derives from it.

    Args:
        source: Builds the policy.
        settings: The reference before it is bound; None for the default one.

    Attributes:
        policy_name: Name that the policy was given by, or that its module was loaded under.
        is_trained: True once a fit has come to its first step.
        examples_of_loaders: Examples of loaders of the user's own, which a `Precomputed` reference scores too.
    """

    def __init__(self, source: PolicySource, settings: Reference | None) -> None:
        super().__init__()
        self.policy_source = source
        self.policy_name = source.name
        self.reference_settings = settings
        self.examples_of_loaders: list[Sequence[TokenizedExample]] = []
        self.is_trained = False
        self._is_built_by_run = False
        self._models: RunModels | None = None
        if isinstance(source.policy, nn.Module):  # for what looks for parameters, or copies them, before a run builds
            self.policy = source.policy  # type: ignore[misc]

    def __setattr__(self, name: str, value: Any) -> None:
        # nn.Module registers a module past a property: reference and scorer would stay with the model before it.
        self._check_given_once(name, value)
        super().__setattr__(name, value)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Register a module, as torch does, but for one in the place of what the constructor is given.

        Raises:
            RunError: for such a one.
        """
        self._check_given_once(name, module)
        super().add_module(name, module)

    def _check_given_once(self, name: str, value: object) -> None:
        if name not in _GIVEN:
            return
        held = vars(self)  # empty before nn.Module's constructor
        if name == "policy":
            is_right = value is not None and value is _due(held.get("_models"), held.get("policy_source"))
        else:
            is_right = name not in _BUILT and name not in {**held, **held.get("_modules", {})}
        if not is_right:
            raise RunError(f"PreferenceModule.{name} cannot be replaced: give {_GIVEN[name]} to the constructor")

    def __getattr__(self, name: str) -> Any:
        # Python comes here when a property raises an AttributeError, and nn.Module would say in its place that there is
        # no such property. Asked again, the property says what it lacks: that the model is not built, for one.
        found = inspect.getattr_static(type(self), name, None)
        if isinstance(found, property | cached_property):
            return found.__get__(self, type(self))
        return super().__getattr__(name)

    @property
    def models(self) -> RunModels:
        """The policy with its reference and its scorer; a NotBuiltError before `configure_model()`."""
        models: RunModels | None = vars(self).get("_models")
        if models is None:
            raise _not_built()
        return models

    @property
    def policy(self) -> nn.Module:
        """The model that is trained; before `configure_model()` as it was given, or a NotBuiltError where by a name."""
        policy: nn.Module | None = vars(self).get("_modules", {}).get("policy")
        if policy is None:
            raise _not_built()
        return policy

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the policy makes of its own arguments, such as `input_ids`."""
        return self.policy(*args, **kwargs)

    @property
    def reference(self) -> BoundReference:
        """The reference, bound to the policy; a NotBuiltError before `configure_model()`."""
        return self.models.reference

    def prepare_data(self) -> None:
        """Find out that there is no such model before anything is written."""
        if self._models is None:
            self.policy_source.check()

    @property
    def is_built(self) -> bool:
        """True once policy and reference are built."""
        return self._models is not None

    def configure_model(self) -> None:
        """Build policy and reference once; Lightning calls this again for each stage."""
        trainer = attached_trainer(self)
        if self._models is not None:
            self.policy_source.take_again(None if trainer is None else str(trainer.precision))
            return
        place = Place()
        self._is_built_by_run = trainer is not None
        if trainer is not None:
            check_strategy(trainer.strategy)
            check_device(self.policy_source.options.gradient_checkpointing, trainer.strategy.root_device)
            place = Place(str(trainer.precision), self.device_mesh, trainer.strategy.root_device)
        self._models = RunModels(self.policy_source, self.reference_settings, place)
        # nn.Module registers it without asking the property, which reads. In the place of a module that was given.
        self.policy = self._models.policy  # type: ignore[misc]

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights; a policy that no run has taken keeps its own settings, as in the process that spawns others."""
        is_taken = self.policy_source.is_taken
        result = super().load_state_dict(*args, **kwargs)
        if not is_taken:
            self.policy_source.give_back()
        return result

    def undo_untrained(self) -> None:
        """Take new adapters out of a policy that was given as a module, where a run has built and not trained them."""
        is_undone = self._is_built_by_run and not self.is_trained and self.device_mesh is None
        if is_undone and self.policy_source.take_out_adapters():
            self._models = None
            self.policy = self.policy_source.policy  # type: ignore[misc, assignment]

    def build_before_setup(self) -> None:
        """Build the models now where one of the Trainer's callbacks needs their parameters in its `setup`.

        Raises:
            InputError: where they would be sharded between its `setup` and the training, and for one that prunes the
                weights under adapters.
        """
        trainer: Any = self.trainer
        eager = [type(callback).__name__ for callback in trainer.callbacks if isinstance(callback, _READ_IN_SETUP)]
        if not eager:
            return
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise InputError(
                f"{eager[0]} takes the parameters before ModelParallelStrategy shards them: use the strategy ddp, or "
                "leave the callback out"
            )
        # Contexts of Lightning's own call of `configure_model`.
        with trainer.strategy.tensor_init_context(), trainer.precision_plugin.module_init_context():
            self.configure_model()
        check_backbone(self, trainer.callbacks)
        if is_adapted(self.policy) and any(isinstance(callback, ModelPruning) for callback in trainer.callbacks):
            raise InputError(
                "ModelPruning would prune the weights under the adapters, which the reference may share: leave the "
                "callback out, or leave `lora` out"
            )
        for callback in trainer.callbacks:
            if isinstance(callback, WeightAveraging):
                keep_frozen_weights(callback)

    def clip_gradients(
        self, optimizer: Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip as Lightning does; gradients on several device meshes and those of a fused optimizer, too."""
        with clipping_by(attached_trainer(self), partial(clip, self)):
            super().clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def whole_policy(self) -> nn.Module | None:
        """Return the policy; of a sharded one a whole copy in rank 0's CPU memory, None elsewhere. All must call."""
        return self.models.whole_policy()

    def policy_again(self) -> nn.Module:
        """Load the policy once more, as it was before training; an InputError where it was given as a module."""
        return self.models.policy_again()

    @property
    def identity(self) -> Identity:
        """Policy and reference as they were before training; a NotBuiltError before `configure_model()`."""
        return self.models.identity

    def lose_reference(self, why: str) -> None:
        """Leave the reference out, which refuses to score from now on; `why` says what is missing."""
        self.models.reference = LostReference(why).bind(self.policy)

    def original_config(self) -> dict[str, Any] | None:
        """Return the model's config as it was given; None where it has none."""
        return self.policy_source.original_config()

    def vocabulary(self) -> int | None:
        """Return the rows of the policy's embedding; of one by name those that its config says."""
        return self.policy_source.vocabulary() if self._models is None else embedding_rows(self.policy)

    @property
    def checkpointing(self) -> Checkpointing:
        """Share of the forward that the backward computes again."""
        return self.policy_source.options.gradient_checkpointing

    def names_read(self) -> list[str]:
        """Return the names and directories of the models that the run begins with, the reference's too."""
        return [*self.policy_source.names_read(), *checkpoints_of(self.reference_settings)]

    def lost_base(self) -> str | None:
        """Return why the base model of the policy's adapter can be loaded from nowhere; None where it can."""
        return self.policy_source.lost_base()

    def with_reference(self, collate: Collate, pairs: Sequence[TokenizedExample] = ()) -> Collate:
        """Return the collate function of a loader, or one whose batches bring the values of a `Precomputed` reference.

        Args:
            collate: Makes the batch: `collate_tree`, `collate_padded`.
            pairs: All pairs that a loader of your own will give, to be scored when the Trainer starts; such a loader
                takes `num_workers=0`, since Lightning starts workers before. Nothing for a `PreferenceDataModule`'s.
        """
        if len(pairs):
            self.examples_of_loaders.append(pairs)
        if self._models is not None:
            return self.reference.collate(collate)

        def late(examples: Sequence[TokenizedExample]) -> PreferenceBatch:
            return self.reference.collate(collate)(examples)

        return late

    def tree_problem(self) -> str | None:
        """Return why the tree layout is wrong for policy or reference, in one line; None where it is right.

        Both are tried in the precision of the run, by which the kernel is chosen.
        """
        trainer = attached_trainer(self)
        with nullcontext() if trainer is None else trainer.precision_plugin.forward_context():
            return self.models.tree_problem

    def other_rows_problem(self) -> str | None:
        """Return why a run cannot go on with other rows than it began with, in one line; None where it can."""
        if not isinstance(self.reference_settings, Precomputed):
            return None
        return (
            "reference Precomputed scores rows at the start of a run: replace them between two runs, or take "
            "FrozenCopy or AdapterOff"
        )

    def converting(self) -> AbstractContextManager[None]:
        """Keep RoPE's frequencies in float32 when the module is cast."""
        return float32_buffers_kept(self)


def _due(models: RunModels | None, source: PolicySource | None) -> object:
    """Return the model that may be registered as the policy: the one that was built, or else the one that was given."""
    if models is not None:
        return models.policy
    return source.policy if source is not None and isinstance(source.policy, nn.Module) else None


def _not_built() -> NotBuiltError:
    return NotBuiltError("the model is not built yet: call configure_model() first; a Trainer does so by itself")
