"""A reference that is scored once, and then read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import Collate, PreferenceBatch, TokenizedExample
from dpo_lightning.errors import InputError
from dpo_lightning.reference.base import BoundReference, Followed, Reference
from dpo_lightning.reference.cache.lookup_or_score import Rows, fill
from dpo_lightning.reference.cache.scored_model import Source, bind_source
from dpo_lightning.reference.cache.scoring_run import ScoringRun
from dpo_lightning.reference.cache.store import Key, default_cache_dir
from dpo_lightning.reference.cache.table import CollateWithReference, ReferenceTable, TableSlot
from dpo_lightning.reference.cache.weights import weights_hash
from dpo_lightning.reference.default import default_reference
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.settings import at_least, require
from dpo_lightning.utils.tensors import float_dtype_of


@dataclass(frozen=True)
class Precomputed(Reference):
    """Another reference, scored once before training and then read from a cache on disk.

    The cache holds float32 log-probs of every scored token. A row is found by its token ids, the reference by the hash
    of its weights and the precision: so reordered and subset data, new validation pairs, other batches, learning rates
    and layouts find what is there, and other weights do not. While one run scores, others wait, and read what it has
    scored. While training, no second model is in memory; without adapters, the policy itself is scored, before its
    first step.

    `dpo-lightning cache` shows, verifies and prunes it. Batches of a `PreferenceDataModule` bring the values; for
    loaders of your own, see `PreferenceModule.with_reference`.

    Args:
        cache_dir: Where the cache is, on a file system that all nodes of the run share; null takes
            `dpo_lightning/reference` in `$XDG_CACHE_HOME` or `~/.cache`.
        source: The reference to score; null takes what a run without `reference` has.
        batch_tokens: Most tokens of a batch while scoring, which keeps no activations.

    Example:
        >>> from dpo_lightning import FrozenCopy, Precomputed
        >>> Precomputed(cache_dir="runs/cache", source=FrozenCopy("runs/sft")).source.checkpoint
        'runs/sft'
        >>> Precomputed(batch_tokens=0)
        Traceback (most recent call last):
            ...
        dpo_lightning.errors.InputError: Precomputed.batch_tokens must be at least 1, got 0
    """

    cache_dir: Optional[str] = None
    source: Optional[Reference] = None
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        require(self, batch_tokens=at_least(1))
        if not isinstance(self.source, Reference | None):
            raise wrong_kind("Precomputed.source", self.source, Reference, "give a reference, or null for the default")

    def bind(self, policy: nn.Module) -> BoundPrecomputed:
        """Hash the weights of what is scored, and load it where it is another checkpoint.

        Raises:
            InputError: for a source that does not fit the policy, or cannot be precomputed.
        """
        reference = self.source or default_reference(policy, trained_adapter=False)
        return BoundPrecomputed(self, bind_source(reference, policy), policy)


class BoundPrecomputed(BoundReference):
    """Values in a cache, and the source of those that it lacks.

    Args:
        settings: The cache's place and the size of a batch.
        source: What is scored.
        policy: The policy, as it is before training.

    Attributes:
        source: What is scored.
    """

    def __init__(self, settings: Precomputed, source: Source, policy: nn.Module) -> None:
        self.source = source
        self.weights_hash = source.weights
        self._settings = settings
        self._policy = policy
        self._dtype = str(float_dtype_of(policy)).removeprefix("torch.")
        self._slot = TableSlot()

    @property
    def table(self) -> ReferenceTable | None:
        """Values of all pairs that `fill` was given last; None before."""
        return self._slot.table

    def own_models(self) -> list[nn.Module]:
        """Return the other checkpoint, until it has scored."""
        return self.source.own_models()

    def own_weights(self) -> dict[str, Tensor]:
        """Return the weights of what is scored, until another checkpoint has scored."""
        return self.source.own_weights()

    def collate(self, collate: Collate) -> CollateWithReference:
        """Return a collate function whose batches bring the reference's values, once `fill` has scored their pairs."""
        return CollateWithReference(collate, self._slot)

    def fill(
        self, pairs: Sequence[Sequence[TokenizedExample]], run: ScoringRun, rebuild: Callable[[], nn.Module]
    ) -> None:
        """Score what the cache lacks of these pairs; every rank must call it.

        Leaves the global random state as it is.

        Args:
            pairs: The pairs, in parts.
            run: The Trainer's part.
            rebuild: Loads the policy once more, as it was before training.

        Raises:
            InputError: without any pair, or where rows are missing and the reference cannot be had again.
            RunError: where cached values are not the reference's, or cannot be written.
        """
        key = Key(self.source.weights, run.precision, self.source.name, self._dtype)
        place = self._settings.cache_dir
        directory = Path(place).expanduser() if place else default_cache_dir()
        rows = Rows.of(pairs)
        self._slot.table = fill(rows, (directory, key), self.source, rebuild, run, self._settings.batch_tokens)

    def token_logps(self, batch: PreferenceBatch) -> Float[Tensor, " N"]:
        """Return the values that came with the batch.

        Raises:
            InputError: when none came.
        """
        if batch.reference_logps is None:
            raise InputError(
                "reference Precomputed: the batch brings no values: make it with the collate function "
                "module.with_reference(collate, pairs), or take the batches of a PreferenceDataModule"
            )
        return batch.reference_logps.view(torch.float32)

    def diagnose(self) -> str:
        """Name other weights, or values that are not theirs."""
        if weights_hash(self._policy) != self.source.weights:
            return f"the policy has other weights or adapters than the cached reference {self.source.name!r}"
        return "the weights are equal: the cached values are not theirs, or the precision is another one"

    def followed(self) -> dict[str, Followed]:
        """Refuse to follow the policy.

        Raises:
            InputError: since the values are those of fixed weights.
        """
        raise InputError(
            "reference Precomputed is scored once, and cannot follow the policy: use FrozenCopy, or FrozenAdapter with "
            "adapters"
        )
