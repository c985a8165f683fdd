"""Before the first step: the policy must still be its reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from dpo_lightning.batch import PairBatch, PairScores
from dpo_lightning.errors import RunError
from dpo_lightning.modes import evaluating

if TYPE_CHECKING:
    from dpo_lightning.module import PreferenceModule


class StepZeroCheck(pl.Callback):
    """Stops a fresh run whose policy and reference disagree on the first batch.

    Where they agree, the loss has a known value (ln 2 for DPO) and every reward is 0. `PreferenceModule` adds this
    callback; `step_zero_check: false` on the module leaves it out. It costs one forward of both.

    Args:
        tolerance: Largest accepted difference of the mean loss, and largest accepted reward.
    """

    def __init__(self, tolerance: float = 1e-2) -> None:
        self.tolerance = tolerance

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Compare on the first batch of a fresh run.

        Raises:
            RunError: with the loss, its known value, the largest reward and a diagnosis.
        """
        module: PreferenceModule = pl_module  # type: ignore[assignment]
        if trainer.global_step or batch_idx or not module.objective.needs_reference:
            return
        with _scoring(trainer):
            scores = module.score(batch)
            if self._agree(module, scores):
                return
            raise RunError(self._message(module, batch, scores))

    def _agree(self, module: PreferenceModule, scores: PairScores) -> bool:
        loss, known = (module.objective(s).mean() for s in (scores, _without_difference(scores)))
        if not torch.isfinite(loss):  # another check's finding
            return True
        return bool((loss - known).abs() <= self.tolerance and _largest_reward(module, scores) <= self.tolerance)

    def _message(self, module: PreferenceModule, batch: PairBatch, scores: PairScores) -> str:
        loss, known = (module.objective(s).mean().item() for s in (scores, _without_difference(scores)))
        assert module.policy is not None
        assert module.reference is not None
        with evaluating(module.policy):
            agree_in_eval = self._agree(module, module.score(batch))
        cause = (
            "dropout or another random part of the policy is active in train mode"
            if agree_in_eval
            else module.reference.diagnose(module.policy)
        )
        return (
            f"before step 0 the policy is not its reference: loss {loss:.4f} instead of {known:.4f}, largest reward "
            f"{_largest_reward(module, scores):.4f} instead of 0; {cause}. "
            "If that is meant, set model.step_zero_check to false"
        )


def _without_difference(scores: PairScores) -> PairScores:
    return scores._replace(
        reference_chosen_logps=scores.policy_chosen_logps, reference_rejected_logps=scores.policy_rejected_logps
    )


def _largest_reward(module: PreferenceModule, scores: PairScores) -> float:
    return torch.cat(module.objective.rewards(scores)).abs().max().item()


@contextmanager
def _scoring(trainer: pl.Trainer) -> Iterator[None]:
    """The precision of a training step, no graph, and the random state left as it was."""
    device = trainer.strategy.root_device
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), trainer.precision_plugin.train_step_context():
        yield
