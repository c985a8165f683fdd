"""A second set of weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Optional

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.batch import PairBatch
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.models import disable_cache, load_model
from dpo_lightning.reference.base import Reference


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
        # A quantized weight is an integer.
        dtype = next(parameter.dtype for parameter in policy.parameters() if parameter.is_floating_point())
        model = load_model(self.checkpoint, dtype, model_kwargs=self.model_kwargs)
        disable_cache(model)
        return model

    def token_logps(self, batch: PairBatch) -> Float[Tensor, " N"]:
        """Score with the copy, which follows the batch to its device."""
        self._model.to(batch.input_ids.device)
        with torch.no_grad():
            return self._score(batch)

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
