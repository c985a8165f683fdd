"""Models that are scored: how they are hashed, and how they are had when rows are missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.samples import own_tensors
from dpo_lightning.policy.scoring_mode import ScoringMode
from dpo_lightning.reference.adapter import AdapterOff, FrozenAdapter
from dpo_lightning.reference.base import BoundReference, Reference
from dpo_lightning.reference.cache.weights import agreed_weights_hash, weights_hash
from dpo_lightning.reference.frozen import FrozenCopy
from dpo_lightning.utils.tensors import device_of


class Loaded(NamedTuple):
    """A model that scores, for as long as it is needed."""

    model: nn.Module
    token_logps: Callable[[PreferenceBatch], Float[Tensor, " N"]]


class Source(ABC):
    """Reference behind the cache.

    Attributes:
        weights: Hash of its weights as they were when it was bound.
        name: Its name, for people.
    """

    weights: str
    name: str

    @abstractmethod
    def loaded(self, needed: bool, rebuild: Callable[[], nn.Module]) -> AbstractContextManager[Loaded | None]:
        """Yield the model that scores, as a context; None where it would be a second one and is not needed.

        Args:
            needed: Whether rows are missing.
            rebuild: Loads the policy once more, as it was before training.
        """

    def own_models(self) -> list[nn.Module]:
        """Return the models beside the policy that it holds now."""
        return []

    def own_weights(self) -> dict[str, Tensor]:
        """Return the weights that it has now beside those that the policy shares with it, by name."""
        return {name: tensor for model in self.own_models() for name, tensor in own_tensors(model).items()}


class SharedWeights(Source):
    """A reference on the policy's own weights, at hand at any time."""

    def __init__(self, reference: AdapterOff | FrozenAdapter, policy: nn.Module) -> None:
        adapters = isinstance(reference, FrozenAdapter)
        # Before the reference adds its own adapter.
        self.weights = agreed_weights_hash(policy, adapters=adapters)
        self.name = f"{model_name(policy)}{' with its adapter' if adapters else ''}"
        self._bound = reference.bind(policy)
        self._loaded = Loaded(policy, self._bound.token_logps)

    @contextmanager
    def loaded(self, needed: bool, rebuild: Callable[[], nn.Module]) -> Iterator[Loaded | None]:
        """Yield the reference."""
        yield self._loaded

    def own_weights(self) -> dict[str, Tensor]:
        """Return those of the adapter's copy; without one, nothing."""
        return self._bound.own_weights()


class PolicyItself(Source):
    """The policy as it is before training, without a copy."""

    def __init__(self, policy: nn.Module) -> None:
        self.weights = agreed_weights_hash(policy)
        self.name = model_name(policy)
        self._policy = policy

    def own_weights(self) -> dict[str, Tensor]:
        """Return the policy's, which are the reference's before training."""
        return own_tensors(self._policy)

    @contextmanager
    def loaded(self, needed: bool, rebuild: Callable[[], nn.Module]) -> Iterator[Loaded | None]:
        """Yield the policy while it is untouched; afterwards, if rows are missing, the same loaded once more."""
        policy = self._policy
        if weights_hash(policy) != self.weights:
            if not needed:
                yield None
                return
            policy = rebuild()
            if weights_hash(policy) != self.weights:
                raise InputError(
                    "reference Precomputed: rows are missing in the cache, and the policy loaded again is not the one "
                    "that the run began with: give `source: FrozenCopy` with its checkpoint"
                )
        score = TokenScorer(policy)
        with ScoringMode(policy, policy).entered():
            yield Loaded(policy, lambda batch: score(batch).logps)


class OtherModel(Source):
    """Another checkpoint, which is freed once it has scored."""

    def __init__(self, reference: FrozenCopy, policy: nn.Module) -> None:
        self._settings = reference
        self._policy = policy
        self._copy: BoundReference | None = reference.bind(policy)
        self.weights = agreed_weights_hash(self.own_models()[0])
        self.name = str(reference.checkpoint)

    def own_models(self) -> list[nn.Module]:
        """Return the model, until it has scored."""
        return self._copy.own_models() if self._copy is not None else []

    @contextmanager
    def loaded(self, needed: bool, rebuild: Callable[[], nn.Module]) -> Iterator[Loaded | None]:
        """Yield the model where it is still loaded, or is needed."""
        copy, self._copy = self._copy, None
        if copy is None and needed:
            copy = self._settings.bind(self._policy)
        if copy is None:
            yield None
            return
        model = copy.own_models()[0].to(device_of(self._policy))
        yield Loaded(model, copy.token_logps)


def bind_source(reference: Reference, policy: nn.Module) -> Source:
    """Take a reference from the policy as it stands before training.

    Raises:
        InputError: for one whose weights cannot be hashed.
    """
    if isinstance(reference, AdapterOff | FrozenAdapter):
        return SharedWeights(reference, policy)
    if isinstance(reference, FrozenCopy):
        return PolicyItself(policy) if reference.checkpoint is None else OtherModel(reference, policy)
    raise InputError(
        f"Precomputed.source: {type(reference).__name__} cannot be precomputed: use FrozenCopy, AdapterOff or "
        "FrozenAdapter"
    )


def model_name(model: nn.Module) -> str:
    """Return the name that it was loaded under, or its class."""
    return str(getattr(model, "name_or_path", "") or type(model).__name__)
