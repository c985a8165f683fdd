"""The LightningModule: wiring between policy, reference, objective, optimizer and metrics."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Optional, Union, cast

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import AdamW

from dpo_lightning.attention import tree_problem
from dpo_lightning.batch import PairBatch, PairScores
from dpo_lightning.callbacks import NonFiniteStop, StepZeroCheck
from dpo_lightning.errors import InputError
from dpo_lightning.hparams import plain_hyperparameters
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.losses import DPO, Objective
from dpo_lightning.metrics import PairMean, pair_metrics
from dpo_lightning.models import (
    LoRA,
    PolicyOptions,
    adapter_config,
    build_policy,
    float32_buffers_kept,
    is_adapted,
    load_config,
    precision_dtype,
)
from dpo_lightning.optimization import decay_groups, gradient_norm
from dpo_lightning.reference import FrozenCopy, NoReference, Reference, default_reference
from dpo_lightning.schedules import Constant, Schedule

_ON_THE_BAR = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies"}


class PreferenceModule(pl.LightningModule):
    """Trains a causal language model on preference pairs.

    Checkpoints hold the trainable parameters only. To change the loss of a subclass, override `pair_losses`.

    Args:
        policy: Hub name or directory of a causal LM or of a trained PEFT adapter; or a module.
        objective: What is minimised.
        reference: What the policy is compared with; null takes the cheapest that equals the policy before training:
            the adapter switched off, a frozen copy of a trained adapter, or a frozen copy of the policy.
        lora: Train low-rank adapters instead of the weights.
        quantization_config: Arguments of `transformers.BitsAndBytesConfig`, such as `load_in_4bit: true` (QLoRA).
        model_kwargs: Further arguments of `from_pretrained`: `revision`, `attn_implementation`, `trust_remote_code`.
        gradient_checkpointing: Recompute activations in the backward: less memory, about a third more time.
        dropout: Keep the model's own dropout on; off, policy and reference agree before training.
        step_zero_check: Stop a fresh run whose policy and reference disagree on the first batch.
        optimizer: Makes the optimizer from the parameters; weight decay is kept off norms and biases.
        schedule: Learning rate over the optimizer steps.
    """

    def __init__(  # noqa: PLR0913 - the constructor is the config
        self,
        policy: Union[str, nn.Module],
        objective: Objective = DPO(),  # noqa: B008 - frozen
        reference: Optional[Reference] = None,
        *,
        lora: Optional[LoRA] = None,
        quantization_config: Optional[dict[str, Any]] = None,
        model_kwargs: Optional[dict[str, Any]] = None,
        gradient_checkpointing: bool = False,
        dropout: bool = False,
        step_zero_check: bool = True,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-6, weight_decay=0.0),
        schedule: Schedule = Constant(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        if reference is not None and not objective.needs_reference and not isinstance(reference, NoReference):
            raise InputError(f"objective {type(objective).__name__} has no reference: leave `reference` out")
        self.save_hyperparameters(ignore=["policy"] if isinstance(policy, nn.Module) else [])
        plain_hyperparameters(self.hparams)
        if "objective" not in self.hparams:
            rank_zero_warn(f"{type(objective).__name__} is no dataclass: pass it to load_from_checkpoint again")
        self.policy_name = policy if isinstance(policy, str) else getattr(policy, "name_or_path", None)
        self.objective = objective
        self.reference = reference if objective.needs_reference else NoReference()
        self.step_zero_check = step_zero_check
        self.policy: nn.Module | None = None
        self.train_metrics, self.eval_metrics = PairMean(), PairMean()
        self._source = (policy,)  # in a tuple: registered only once it is built
        self._options = PolicyOptions(lora, quantization_config, model_kwargs, gradient_checkpointing, dropout)
        self._optimizer = optimizer
        self._schedule = schedule
        self._logged_step = 0

    def prepare_data(self) -> None:
        """Find out that there is no such model before anything is written."""
        if isinstance(self._source[0], str):
            load_config(self._source[0], self._options.model_kwargs)

    def configure_model(self) -> None:
        """Build policy and reference once; Lightning calls this again for each stage."""
        if self.policy is not None:
            return
        source = self._source[0]
        dtype = precision_dtype(str(self.trainer.precision) if self._trainer is not None else None)
        self._config = copy.deepcopy(getattr(source, "config", None))
        trained_adapter = adapter_config(source) is not None if isinstance(source, str) else is_adapted(source)
        self.policy = build_policy(source, dtype, self._options)
        self.reference = self.reference or default_reference(self.policy, trained_adapter)
        self.reference.bind(self.policy)
        self._scorer = TokenScorer(self.policy)

    def tree_problem(self) -> str | None:
        """Why the tree layout is wrong for the policy or its reference, in one line; None where it is right.

        A DataModule asks before its first batch. The answer is that of a self-test of the loaded models, run once.
        """
        return self._tree_problem

    @cached_property
    def _tree_problem(self) -> str | None:
        assert self.policy is not None, "configure_model() comes first"
        models = {"policy": self.policy}
        if isinstance(self.reference, FrozenCopy) and self.reference.checkpoint is not None:
            models["reference"] = self.reference.model.to(next(self.policy.parameters()).device)
        for role, model in models.items():
            if problem := tree_problem(model):
                return f"the tree layout does not fit the {role}: {problem}"
        return None

    def original_config(self) -> dict[str, Any]:
        """The model's config as it was given, before caching and dropout were switched off for training."""
        config = self._config or load_config(str(self._source[0]), self._options.model_kwargs)
        return config.to_dict()

    def configure_callbacks(self) -> list[pl.Callback]:
        """The two checks that every run gets; one of the Trainer's own of the same kind replaces it."""
        checks: list[pl.Callback] = [NonFiniteStop()]
        if self.step_zero_check:
            checks.append(StepZeroCheck())
        present = {type(callback) for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        return [check for check in checks if type(check) not in present]

    def configure_optimizers(self) -> Any:
        """The optimizer over the trainable parameters, and the schedule per optimizer step."""
        optimizer = self._optimizer(decay_groups(self))
        scheduler = self._schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def score(self, batch: PairBatch) -> PairScores:
        """Log-probs of the batch's completions under policy and reference."""
        assert self.reference is not None, "configure_model() comes first"
        reference_logps = batch.sum_per_sequence(self.reference.token_logps(batch))
        policy_logps = batch.sum_per_sequence(self._scorer(batch))
        return PairScores.from_sequences(policy_logps, reference_logps, batch.lengths)

    def pair_losses(self, batch: PairBatch, scores: PairScores) -> Float[Tensor, " P"]:
        """Loss of each pair: the objective. Override it to add terms."""
        return self.objective(scores)

    def training_step(self, batch: PairBatch, batch_idx: int) -> Float[Tensor, ""]:
        """The batch's part of the mean over the pairs of the optimizer step; without a `pair_weight`, its own mean.

        Lightning divides by `accumulate_grad_batches` and the strategy by the number of ranks: of plain means that
        makes the mean over all pairs only where every micro-batch has equally many, and no window is cut short.
        """
        losses = self._step(batch, self.train_metrics)
        return losses.mean() if batch.pair_weight is None else losses.sum() * batch.pair_weight

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Add the batch to the validation means."""
        self._step(batch, self.eval_metrics)

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Add the batch to the test means."""
        self._step(batch, self.eval_metrics)

    def predict_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Tensor]:
        """Pair ids, rewards and margin, each ``[P]``."""
        chosen, rejected = self.objective.rewards(self.score(batch))
        return {"pair_id": batch.pair_ids, "chosen": chosen, "rejected": rejected, "margin": chosen - rejected}

    def _step(self, batch: PairBatch, metrics: PairMean) -> Float[Tensor, " P"]:
        scores = self.score(batch)
        losses = self.pair_losses(batch, scores)
        metrics.update(pair_metrics(scores, self.objective.rewards(scores), losses))
        return losses

    def on_train_start(self) -> None:
        """Begin the means anew: a module can be fitted more than once, and each Trainer counts its own steps."""
        self._logged_step = self.global_step
        self.train_metrics.reset()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient's norm before clipping, in the steps that are logged."""
        if (self.global_step + 1) % self._log_interval == 0:
            self.log("train/grad_norm", gradient_norm(self))

    def on_train_batch_end(self, outputs: Any, batch: PairBatch, batch_idx: int) -> None:
        """Log the means over the pairs since the last log: one reduction over ranks, once per interval."""
        due = self.global_step > self._logged_step and self.global_step % self._log_interval == 0
        if due:
            self._logged_step = self.global_step
            self._log_means(self.train_metrics, "train")

    def on_validation_epoch_end(self) -> None:
        """Log the validation means."""
        self._log_means(self.eval_metrics, "val")

    def on_test_epoch_end(self) -> None:
        """Log the test means."""
        self._log_means(self.eval_metrics, "test")

    @property
    def _log_interval(self) -> int:
        return cast(Any, self.trainer).log_every_n_steps

    def _log_means(self, metrics: PairMean, stage: str) -> None:
        means = metrics.compute()
        for name, value in means.items():
            self.log(f"{stage}/{name}", value, rank_zero_only=stage == "train")
        for label, name in _ON_THE_BAR.items():
            prefix = "" if stage == "train" else f"{stage}_"
            self.log(prefix + label, means[name], prog_bar=True, logger=False, rank_zero_only=stage == "train")
        metrics.reset()

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The trainable parameters only."""
        trainable = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if name in trainable}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load trainable parameters; strict means that they must be exactly these."""
        self.configure_model()
        result = super().load_state_dict(state_dict, strict=False, assign=assign)
        missing = [name for name in self.state_dict() if name not in state_dict]
        if strict and (missing or result.unexpected_keys):
            raise InputError(
                f"the checkpoint's trainable parameters are not this run's: {len(missing)} missing {missing[:3]}, "
                f"{len(result.unexpected_keys)} unexpected {result.unexpected_keys[:3]}"
            )
        return result

    def _apply(self, fn: Any, recurse: bool = True) -> PreferenceModule:
        with float32_buffers_kept(self):
            return super()._apply(fn, recurse)
