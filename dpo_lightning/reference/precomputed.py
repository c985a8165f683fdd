"""A reference that is scored once, and then read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import Collate, PairBatch, TokenizedPair
from dpo_lightning.errors import InputError
from dpo_lightning.reference.base import Followed, Reference
from dpo_lightning.reference.cache.lookup_or_score import Rows, fill
from dpo_lightning.reference.cache.scored_model import Source, bind_source
from dpo_lightning.reference.cache.scoring import ScoringRun
from dpo_lightning.reference.cache.store import Key, default_cache_dir
from dpo_lightning.reference.cache.table import CollateWithReference, TableSlot
from dpo_lightning.reference.cache.weights import weights_hash
from dpo_lightning.reference.default import default_reference
from dpo_lightning.utils.tensors import float_dtype_of


@dataclass
class Precomputed(Reference):
    """Another reference, scored once before training and then read from a cache on disk.

    The cache holds float32 log-probs of every scored token. A row is found by its token ids, the reference by the hash
    of its weights and the precision: so reordered and subset data, new validation pairs, other batches, learning rates
    and layouts find what is there, and other weights do not. Runs beside each other share it. While training, no
    second model is in memory; without adapters, the policy itself is scored, before its first step.

    `dpo-lightning cache` shows, verifies and prunes it. Batches of a `PreferenceDataModule` bring the values; for
    loaders of your own, see `collate`.

    Args:
        cache_dir: Where the cache is, on a file system that all nodes of the run share; null takes
            `dpo_lightning/reference` in `$XDG_CACHE_HOME` or `~/.cache`.
        source: The reference to score; null takes what a run without `reference` has.
        batch_tokens: Most tokens of a batch while scoring, which keeps no activations.
    """

    cache_dir: Optional[str] = None
    source: Optional[Reference] = None
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        if self.batch_tokens < 1:
            raise InputError(f"Precomputed.batch_tokens must be at least 1, got {self.batch_tokens}")
        self._default: Reference | None = None
        self._bound: Source | None = None
        self._dtype = ""
        self._slot = TableSlot()
        self._own_pairs: list[Sequence[TokenizedPair]] = []

    def score_by_default(self, reference: Reference) -> None:
        """Score this one where no `source` is named; before `bind`."""
        self._default = reference

    def bind(self, policy: nn.Module) -> None:
        """Hash the weights of what is scored, and load it where it is another checkpoint.

        Raises:
            InputError: for a source that does not fit the policy, or cannot be precomputed.
        """
        self._bound = bind_source(self.source or self._default or default_reference(policy, False), policy)
        self._dtype = str(float_dtype_of(policy)).removeprefix("torch.")

    def own_models(self) -> list[nn.Module]:
        """The other checkpoint, until it has scored."""
        return self._source.own_models()

    def collate(self, collate: Collate, pairs: Sequence[TokenizedPair] = ()) -> CollateWithReference:
        """A collate function whose batches bring the reference's values, for a loader of your own with `num_workers=0`.

        Lightning starts a loader's workers before the pairs are scored.

        Args:
            collate: Makes the batch: `collate_tree`, `collate_padded`.
            pairs: All pairs that the loader will give, to be scored when the Trainer starts; nothing where they are a
                `PreferenceDataModule`'s.
        """
        if len(pairs):
            self._own_pairs.append(pairs)
        return CollateWithReference(collate, self._slot)

    def fill(self, pairs: Sequence[Sequence[TokenizedPair]], run: ScoringRun, rebuild: Callable[[], nn.Module]) -> None:
        """Score what the cache lacks of these pairs, and of those given to `collate`; every rank must call it.

        Leaves the global random state as it is.

        Args:
            pairs: The pairs, in parts.
            run: The Trainer's part.
            rebuild: Loads the policy once more, as it was before training.

        Raises:
            InputError: without any pair, or where rows are missing and the reference cannot be had again.
            RunError: where cached values are not the reference's, or cannot be written.
        """
        key = Key(self._source.weights, run.precision, self._source.name, self._dtype)
        directory = Path(self.cache_dir).expanduser() if self.cache_dir else default_cache_dir()
        rows = Rows.of([*pairs, *self._own_pairs])
        self._slot.table = fill(rows, (directory, key), self._source, rebuild, run, self.batch_tokens)

    def token_logps(self, batch: PairBatch) -> Float[Tensor, " N"]:
        """The values that came with the batch.

        Raises:
            InputError: when none came.
        """
        if batch.reference_logps is None:
            raise InputError(
                "reference Precomputed: the batch brings no values: make it with the collate function "
                "reference.collate(collate, pairs), or take the batches of a PreferenceDataModule"
            )
        return batch.reference_logps.view(torch.float32)

    def diagnose(self, policy: nn.Module) -> str:
        """Other weights, or values that are not theirs."""
        if weights_hash(policy) != self._source.weights:
            return f"the policy has other weights or adapters than the cached reference {self._source.name!r}"
        return "the weights are equal: the cached values are not theirs, or the precision is another one"

    def followed(self, policy: nn.Module) -> dict[str, Followed]:
        """Refuse.

        Raises:
            InputError: since the values are those of fixed weights.
        """
        raise InputError(
            "reference Precomputed is scored once, and cannot follow the policy: use FrozenCopy, or FrozenAdapter with "
            "adapters"
        )

    @property
    def _source(self) -> Source:
        assert self._bound is not None, "bind() comes first"
        return self._bound
