"""A check before the first step that the policy is still its reference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.errors import RunError
from dpo_lightning.policy.prepare import router_noise
from dpo_lightning.reference import ModelHooks
from dpo_lightning.run import PreferenceRun, preference_batch_of, run_of
from dpo_lightning.utils.kinds import check_arguments, check_kinds
from dpo_lightning.utils.ranks import from_all_ranks, max_over_ranks
from dpo_lightning.utils.settings import Rule
from dpo_lightning.utils.torch_modes import evaluating

_TOLERANCE = Rule("greater than 0", lambda value: value > 0)

_SECOND_FIT = (
    "the module was trained before, by an earlier fit, and its reference is what the policy was before that: go on "
    "from a checkpoint with ckpt_path, or begin with a new module"
)


class StepZeroCheck(pl.Callback):
    """Stops a fresh run whose policy and reference disagree on the first batch.

    Where they agree, every log-ratio is 0, and so the loss has a known value (ln 2 for DPO). `PreferenceModule` adds
    this callback; `step_zero_check: false` on the module leaves it out. It costs one forward of both.

    Args:
        tolerance: Largest accepted log-ratio of a completion, in nats, whatever the objective makes of it.

    Attributes:
        known_loss: Loss of the first batch if policy and reference agree; None before it, and in a run that goes on.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from torch.utils.data import DataLoader
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from dpo_lightning import PreferenceModule, TokenizedExample
        >>> from dpo_lightning.batch import collate_padded
        >>> from dpo_lightning.callbacks import StepZeroCheck
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> policy, other = LlamaForCausalLM(config), LlamaForCausalLM(config)
        >>> other.lm_head.weight.data *= 100
        >>> data = DataLoader([TokenizedExample.pair(0, [1, 2], [3, 4], [5])], collate_fn=collate_padded)
        >>> settings = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
        >>> trainer = Trainer(max_steps=1, callbacks=[StepZeroCheck(tolerance=0.01)], **settings)
        >>> trainer.fit(PreferenceModule(policy, reference=other), data)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        dpo_lightning.errors.RunError: before step 0 the policy is not its reference: loss ...
    """

    def __init__(self, tolerance: float = 0.1) -> None:
        check_arguments(StepZeroCheck, locals(), "StepZeroCheck.")
        _TOLERANCE.check("StepZeroCheck.tolerance", tolerance)
        self.tolerance = tolerance
        self.known_loss: float | None = None
        self._done = False
        self._is_second_fit = False

    @staticmethod
    def asked_for(given: bool) -> bool:
        """Return whether a run is to have the check.

        Raises:
            InputError: for other than true or false: any text would count as true.
        """
        check_kinds("", {"step_zero_check": bool}, {"step_zero_check": given})
        return given

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin anew: a callback can be in more than one fit."""
        self._done = False
        self.known_loss = None
        self._is_second_fit = isinstance(pl_module, ModelHooks) and pl_module.is_trained

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Compare on the first preference batch of a fresh run, if one comes before the first step.

        Raises:
            RunError: with the loss, its known value, the largest log-ratio and a diagnosis.
        """
        run = run_of(pl_module, "StepZeroCheck")
        if trainer.global_step or self._done or not run.reads_reference:
            return
        found = preference_batch_of(pl_module, batch)
        # All ranks score, or none: each waits for the others.
        self._done = all(from_all_ranks(found is not None))
        if found is None or not self._done:
            return
        with scoring(trainer):
            difference = _compare(trainer, run, found)
            self.known_loss = difference.known
            if difference.within(self.tolerance):
                return
            raise RunError(self._message(trainer, run, found, difference))

    def _message(self, trainer: pl.Trainer, run: PreferenceRun, batch: PreferenceBatch, difference: _Difference) -> str:
        cause = _SECOND_FIT if self._is_second_fit else self._found(trainer, run, batch) or run.reference.diagnose()
        return (
            f"before step 0 the policy is not its reference: loss {difference.loss:.4f} instead of "
            f"{difference.known:.4f}, largest log-ratio {difference.logratio:.4f} nats instead of 0; {cause}. "
            "If that is meant, set model.step_zero_check to false"
        )

    def _found(self, trainer: pl.Trainer, run: PreferenceRun, batch: PreferenceBatch) -> str | None:
        """Return what a second forward, and one in eval mode, show of the cause; all ranks must call."""
        logratios = [run.comparison.logratios(run.score(batch)) for _ in range(2)]
        differ = max_over_ranks((logratios[0] != logratios[1]).any().float()).item()
        with evaluating(run.policy):
            agree_in_eval = _compare(trainer, run, batch).within(self.tolerance)
        if differ and agree_in_eval:
            noise = ", ".join(router_noise(run.policy))
            named = f": its routers have {noise}, which its config sets" if noise else ""
            found = "two forwards of the policy in train mode differ: dropout or another random part of it is active"
            return f"{found}{named}"
        if agree_in_eval:
            return (
                "in eval mode they agree, and nothing is random: a layer of the policy computes otherwise in train mode"
            )
        return None


class _Difference(NamedTuple):
    """Mean loss, its known value where policy and reference agree, and the largest log-ratio in nats."""

    loss: float
    known: float
    logratio: float

    def within(self, tolerance: float) -> bool:
        """Say if they agree; a loss that is not finite is another check's finding."""
        if not math.isfinite(self.loss):
            return True
        return self.logratio <= tolerance


def _compare(trainer: pl.Trainer, run: PreferenceRun, batch: PreferenceBatch) -> _Difference:
    """Compare over all ranks, which must decide alike: all must take part in each forward of a sharded model."""
    scores: Any = run.score(batch)
    both = [run.with_baseline(scores), run.with_baseline(scores.without_difference())]
    loss, known = (run.comparison.losses(lambda _, s: run.objective(s), batch, each).mean() for each in both)
    logratio = run.comparison.logratios(scores).abs().max()
    loss, known = trainer.strategy.reduce(torch.stack([loss, known]), reduce_op="mean")
    return _Difference(loss.item(), known.item(), max_over_ranks(logratio).item())


@contextmanager
def scoring(trainer: pl.Trainer) -> Iterator[None]:
    """Enter the precision of a training step, without a graph, and leave the random state as it was."""
    device = trainer.strategy.root_device
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), trainer.precision_plugin.train_step_context():
        yield
