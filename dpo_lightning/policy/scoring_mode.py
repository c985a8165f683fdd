"""The mode that a reference scores in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from dpo_lightning.compat.modules import Walked
from dpo_lightning.policy.prepare import adapter_dropouts, is_random
from dpo_lightning.utils.torch_modes import evaluating


class ScoringMode:
    """The policy's own mode where its forward draws nothing at random, so that equal weights take equal kernels.

    bitsandbytes takes another kernel in eval mode on a CPU. Where the policy has dropout or noise, or the model is
    another one that does, a reference scores in eval mode. Where that is the adapters' dropout alone, this is left out.

    Args:
        model: What the reference scores with: the policy itself, or a second model.
        policy: The policy.
    """

    def __init__(self, model: nn.Module, policy: nn.Module) -> None:
        self._model = model
        self._policy = policy
        self._walked = Walked(model)
        self._left_out = adapter_dropouts(model)
        self._follows = not is_random(model, set(self._left_out))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put the model into the mode inside the block; afterwards the policy is as it was."""
        if self._model is self._policy:
            with evaluating(self._left_out if self._follows else self._walked()):
                yield
            return
        mode = self._follows and self._policy.training
        if self._model.training is not mode:
            self._model.train(mode)
        with evaluating(self._left_out):
            yield
