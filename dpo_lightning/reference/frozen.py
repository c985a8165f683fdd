"""A second set of weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Optional

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import PairBatch
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.loading import load_model
from dpo_lightning.policy.prepare import disable_cache
from dpo_lightning.policy.sharding import sharded_parameters
from dpo_lightning.reference.base import Followed, Reference
from dpo_lightning.utils.tensors import float_dtype_of


@dataclass
class FrozenCopy(Reference):
    """A frozen copy of the policy as it was in memory, or another checkpoint.

    Args:
        checkpoint: Hub name or directory of the reference; null copies the policy. A reference that is not the policy
            fails the check before step 0, which is then switched off with `step_zero_check: false`.
        model_kwargs: Further arguments of `from_pretrained` for the checkpoint.
    """

    checkpoint: Optional[str] = None
    model_kwargs: Optional[dict[str, Any]] = None

    def bind(self, policy: nn.Module) -> None:
        """Copy the policy, or load the checkpoint in the policy's dtype."""
        self._model = self._load(policy).requires_grad_(False).eval()
        self._score = TokenScorer(self._model)

    def own_models(self) -> list[nn.Module]:
        """The copy, or the model of the checkpoint."""
        return [self._model]

    def _load(self, policy: nn.Module) -> nn.Module:
        if self.checkpoint is None:
            return copy.deepcopy(policy)
        model = load_model(self.checkpoint, float_dtype_of(policy), model_kwargs=self.model_kwargs)
        disable_cache(model)
        return model

    def token_logps(self, batch: PairBatch) -> Float[Tensor, " N"]:
        """Score with the copy, which follows the batch to its device."""
        self._model.to(batch.input_ids.device)
        with torch.no_grad():
            return self._score(batch).logps

    def diagnose(self, policy: nn.Module) -> str:
        """Another dtype, or other weights."""
        ours, theirs = dict(self._model.named_parameters()), dict(policy.named_parameters())
        if ours.keys() != theirs.keys():
            return f"the reference {self.checkpoint!r} is another model than the policy"
        if any(ours[name].dtype != theirs[name].dtype for name in ours):
            return "the reference has another dtype than the policy"
        if any(not torch.equal(ours[name].cpu(), theirs[name].detach().cpu()) for name in ours):
            return f"the reference {self.checkpoint or 'copy'!r} has other weights than the policy"
        return "the weights are equal: the same weights score differently"

    def followed(self, policy: nn.Module) -> dict[str, Followed]:
        """The copy of each trained weight; of another checkpoint, every weight.

        Raises:
            InputError: for a checkpoint whose weights are not those of the policy in name, shape and dtype.
        """
        ours, theirs = sharded_parameters(self._model), sharded_parameters(policy)
        if {name: _kind(value) for name, value in ours.items()} != {n: _kind(value) for n, value in theirs.items()}:
            raise InputError(
                f"reference FrozenCopy: {self.checkpoint or 'the copy'!r} is another model than the policy, or loaded "
                "otherwise, and cannot follow it: leave checkpoint out, or give one of the same architecture"
            )
        names = [name for name, value in theirs.items() if value.requires_grad or self.checkpoint is not None]
        if quantized := [name for name in names if not theirs[name].is_floating_point()]:
            raise InputError(
                f"reference FrozenCopy: {quantized[0]} is quantized and cannot follow the policy: leave checkpoint out"
            )
        return {name: Followed(ours[name], theirs[name]) for name in names}


def _kind(weight: Tensor) -> tuple[torch.Size, torch.dtype]:
    return weight.shape, weight.dtype
