"""References with a second set of weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import Any, Optional, Union

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.compat.lightning import profiler_kept
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.loading import load_model
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.modality import check_causal, check_plain
from dpo_lightning.policy.narrow_base import hold_as_before, hold_copy_narrow, wide_dtypes
from dpo_lightning.policy.prepare import disable_cache
from dpo_lightning.policy.scoring_mode import ScoringMode
from dpo_lightning.policy.sharding import sharded_parameters
from dpo_lightning.reference.base import BoundReference, Followed, Reference, without_idle
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.settings import require
from dpo_lightning.utils.tensors import device_of, float_dtype_of


@dataclass(frozen=True)
class FrozenCopy(Reference):
    """A frozen copy of the policy as it was in memory, of another model in memory, or another checkpoint.

    Args:
        checkpoint: Hub name or directory of the reference; null copies the policy. A module is copied when the
            reference is given to a `PreferenceModule`; checkpoints do not hold it. A reference that is not the policy
            fails the check before step 0, which is then switched off with `step_zero_check: false`.
        model_kwargs: Further arguments of `from_pretrained` for the checkpoint.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from dpo_lightning import FrozenCopy, TokenizedExample
        >>> from dpo_lightning.batch import collate_padded
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> policy = LlamaForCausalLM(config)
        >>> reference = FrozenCopy().bind(policy)
        >>> batch = collate_padded([TokenizedExample.pair(0, [1, 2], [3, 4], [5])])
        >>> before = reference.token_logps(batch)
        >>> policy.lm_head.weight.data *= 2  # the policy changes, its reference does not
        >>> torch.equal(reference.token_logps(batch), before)
        True
    """

    checkpoint: Optional[Union[str, nn.Module]] = None
    model_kwargs: Optional[dict[str, Any]] = None

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoint, str | nn.Module | None):
            is_path = isinstance(self.checkpoint, PathLike)
            remedy = f"write {str(self.checkpoint)!r}" if is_path else "give a hub name, a directory or a module"
            raise wrong_kind("FrozenCopy.checkpoint", self.checkpoint, nn.Module, remedy)
        require(self)
        if isinstance(self.checkpoint, nn.Module) and self.model_kwargs:
            raise InputError("FrozenCopy.model_kwargs load a model: give its name, not a module")

    def taken(self) -> Reference:
        """Return the settings of a module that is copied now, or these."""
        if isinstance(self.checkpoint, nn.Module):
            return FrozenModule(copy.deepcopy(self.checkpoint))
        return self

    def bind(self, policy: nn.Module) -> BoundReference:
        """Copy the policy or the module, or load the checkpoint in the policy's dtype."""
        if isinstance(self.checkpoint, nn.Module):
            return self.taken().bind(policy)
        return _Copy(self._load(self.checkpoint, policy), policy, self.checkpoint)

    def _load(self, checkpoint: str | None, policy: nn.Module) -> nn.Module:
        if checkpoint is None:
            return copy.deepcopy(policy, profiler_kept(policy))
        try:
            model = load_model(checkpoint, float_dtype_of(policy), model_kwargs=self.model_kwargs)
        except InputError as error:
            said = str(error).removeprefix("model: ")
            raise InputError(f"model.reference: FrozenCopy.checkpoint: {said}") from error
        disable_cache(model)
        return model


class _Copy(BoundReference):
    """A second set of weights, which may follow the policy's.

    Args:
        model: The second model; it is frozen.
        policy: The first.
        checkpoint: Where the second was loaded from; None for a copy of the policy.
    """

    def __init__(self, model: nn.Module, policy: nn.Module, checkpoint: str | None) -> None:
        self._scorer = _FrozenScorer(model, policy)
        self._policy = policy
        self._checkpoint = checkpoint
        self._narrow = 0

    def own_models(self) -> list[nn.Module]:
        """Return the copy, or the model of the checkpoint."""
        return [self._scorer.model]

    def hold_narrow(self, precision: str | None, device: torch.device) -> int:
        """Hold the linear layers of a model without adapters so, until somebody asks for its weights."""
        if is_adapted(self._scorer.model):
            return 0
        self._narrow = hold_copy_narrow(self._scorer.model, precision, device)
        return self._narrow

    def _hold_as_before(self) -> None:
        if self._narrow:
            hold_as_before(self._scorer.model)
            self._narrow = 0

    def own_weights(self) -> dict[str, Tensor]:
        """Return its weights, without matrices of new adapters, whose partners are still 0: they are drawn anew."""
        self._hold_as_before()
        return without_idle(super().own_weights())

    @contextmanager
    def generating(self) -> Iterator[nn.Module]:
        """Yield the copy, on the policy's device."""
        yield self._scorer.on(device_of(self._policy))

    def token_logps(self, batch: PreferenceBatch) -> Float[Tensor, " N"]:
        """Score with the copy, which follows the batch to its device."""
        return self._scorer(batch)

    def diagnose(self) -> str:
        """Name another dtype, or other weights."""
        self._hold_as_before()
        return self._scorer.diagnose(self._policy, repr(self._checkpoint or "copy"))

    def followed(self) -> dict[str, Followed]:
        """Return the copy of each trained weight; of another checkpoint, every weight.

        Raises:
            InputError: for a checkpoint whose weights are not those of the policy in name, shape and dtype.
        """
        self._hold_as_before()  # to the last bit, and for good: what moves is not rounded
        ours, theirs = sharded_parameters(self._scorer.model), sharded_parameters(self._policy)
        if _kinds(self._scorer.model, ours) != _kinds(self._policy, theirs):
            raise InputError(
                f"reference FrozenCopy: {self._checkpoint or 'the copy'!r} is another model than the policy, or loaded "
                "otherwise, and cannot follow it: leave checkpoint out, or give one of the same architecture"
            )
        names = [name for name, value in theirs.items() if value.requires_grad or self._checkpoint is not None]
        if quantized := [name for name in names if not theirs[name].is_floating_point()]:
            raise InputError(
                f"reference FrozenCopy: {quantized[0]} is quantized and cannot follow the policy: leave checkpoint out"
            )
        return {name: Followed(ours[name], theirs[name]) for name in names}


@dataclass(frozen=True)
class FrozenModule(Reference):
    """A model in memory, as in `PreferenceModule(reference=model)`. Checkpoints do not hold it.

    The model is frozen, put into eval mode and made to keep no cache, in place; it follows the batches to their device.

    Args:
        model: A causal LM that shares no weight with the policy.
    """

    model: nn.Module

    def bind(self, policy: nn.Module) -> BoundReference:
        """Freeze the model.

        Raises:
            InputError: where the policy has weights of it, which training would change, and where it is no causal
                language model.
        """
        theirs = {id(parameter) for parameter in policy.parameters()}
        if shared := [name for name, parameter in self.model.named_parameters() if id(parameter) in theirs]:
            raise InputError(
                f"reference: the module shares {len(shared)} parameters with the policy ({shared[0]}, ...), so it "
                "would be trained: give a copy, or leave `reference` out, which takes the policy before training"
            )
        check_causal(self.model, "reference")
        check_plain(self.model, "reference")
        disable_cache(self.model)
        return _GivenModel(self.model, policy)


class _GivenModel(BoundReference):
    def __init__(self, model: nn.Module, policy: nn.Module) -> None:
        self._scorer = _FrozenScorer(model, None)
        self._policy = policy

    def own_models(self) -> list[nn.Module]:
        """Return the model that was given."""
        return [self._scorer.model]

    @contextmanager
    def generating(self) -> Iterator[nn.Module]:
        """Yield the model, on the policy's device."""
        yield self._scorer.on(device_of(self._policy))

    def token_logps(self, batch: PreferenceBatch) -> Float[Tensor, " N"]:
        """Score with the model, which follows the batch to its device."""
        return self._scorer(batch)

    def diagnose(self) -> str:
        """Name another dtype, or other weights."""
        return self._scorer.diagnose(self._policy, "module")

    def followed(self) -> dict[str, Followed]:
        """Refuse to follow the policy.

        Raises:
            InputError: since other modules may have the model too.
        """
        raise InputError(
            "reference FrozenModule is a module that was given, and stays as it is: save it and use FrozenCopy with "
            "its directory, or leave `reference` out, to let it follow the policy"
        )


class _FrozenScorer:
    """A model that is never trained, and its log-probs of a batch.

    Args:
        model: The model.
        policy: Whose mode it follows where nothing in it is random; None leaves it in eval mode.
    """

    def __init__(self, model: nn.Module, policy: nn.Module | None) -> None:
        self.model = model.requires_grad_(False).eval()
        self._mode = nullcontext if policy is None else ScoringMode(model, policy).entered
        self._score = TokenScorer(model)

    def __call__(self, batch: PreferenceBatch) -> Float[Tensor, " N"]:
        self.on(batch.input_ids.device)
        with torch.no_grad(), self._mode():
            return self._score(batch).logps

    def on(self, device: torch.device) -> nn.Module:
        """Return the model on a device; torch's own way goes through all tensors, even where none is moved."""
        return self.model if device_of(self.model) == device else self.model.to(device)

    def diagnose(self, policy: nn.Module, name: str) -> str:
        """Say how the weights differ from the policy's."""
        ours, theirs = dict(self.model.named_parameters()), dict(policy.named_parameters())
        if ours.keys() != theirs.keys():
            return f"the reference {name} is another model than the policy"
        if any(ours[key].dtype != theirs[key].dtype for key in ours):
            return "the reference has another dtype than the policy"
        if any(not torch.equal(ours[key].cpu(), theirs[key].detach().cpu()) for key in ours):
            return f"the reference {name} has other weights than the policy"
        return "the weights are equal: the same weights score differently"


def _kinds(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return shape and dtype of each weight; of a narrow one the dtype that it stands for: the policy's may be wide."""
    wide = wide_dtypes(model)
    return {name: (weight.shape, wide.get(name, weight.dtype)) for name, weight in weights.items()}
