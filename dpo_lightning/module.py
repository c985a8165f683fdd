"""PreferenceModule: Lightning's hooks, and what a run offers its callbacks and its data."""

from __future__ import annotations

from typing import Any, Generic, Optional, Union

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import Metric

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.callbacks import DurableSaves, ExactResume, GracefulStop, ReferenceCache, StepZeroCheck, UpdateGuard
from dpo_lightning.callbacks.start_notes import StartNotes
from dpo_lightning.checkpoints import CheckpointHooks, plain_hyperparameters
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.logprobs import Statistic, statistics_read
from dpo_lightning.losses import DPO, AnyObjective, Reads
from dpo_lightning.losses.scores import Scores, ScoresT, TokenScores
from dpo_lightning.policy import LoRA, PolicyOptions, PolicySource
from dpo_lightning.reference import ModelHooks, Precomputed, Reference, checked_settings, in_memory_only
from dpo_lightning.training import Constant, Means, RunningMean, Schedule, check_makers, decay_groups
from dpo_lightning.training.examples import comparison_of
from dpo_lightning.training.logging import log_means, log_training


class PreferenceModule(ModelHooks, CheckpointHooks, PreferenceLearner, Generic[ScoresT]):
    """Trains a causal language model on preference pairs, or on single completions with a label.

    Checkpoints hold the trainable parameters, and a reference that is moved. `pair_losses` is there to be overridden.

    Args:
        policy: Hub name or directory of a causal LM or of a trained PEFT adapter; or a module.
        objective: What is minimised. An `UnpairedObjective` (KTO, UnpairedBCO) takes the data's `UnpairedFormat`.
        reference: What the policy is compared with; null takes the cheapest that equals the policy before training:
            the adapter switched off, a frozen copy of a trained adapter or of the policy. A module is taken as it is.
        lora: Train low-rank adapters instead of the weights.
        quantization_config: Arguments of `transformers.BitsAndBytesConfig`, such as `load_in_4bit: true` (QLoRA).
        model_kwargs: Further arguments of `from_pretrained`: `revision`, `attn_implementation`, `trust_remote_code`.
        gradient_checkpointing: Recompute activations in the backward: less memory, about a third more time.
        dropout: Keep the model's own dropout on; off, policy and reference agree before training.
        step_zero_check: Stop a fresh run whose policy and reference disagree on the first batch.
        router_aux_loss_coef: Factor of the loss that keeps experts in use; null takes the model's own, 0 leaves it out.
        optimizer: Makes the optimizer from the parameters; weight decay is kept off norms and biases.
        schedule: Learning rate over the optimizer steps.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from dpo_lightning import TokenizedExample, collate_tree
        >>> policy = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=2))
        >>> module = PreferenceModule(policy, DPO(beta=0.1))
        >>> module.configure_model()  # a Trainer does so by itself
        >>> batch = collate_tree([TokenizedExample.pair(0, [1, 2], [3, 4], [5])])
        >>> round(module.objective(module.score(batch)).item(), 4)  # ln 2: policy and reference are still equal
        0.6931
    """

    def __init__(  # noqa: PLR0913 - the constructor is the config
        self,
        policy: Union[str, nn.Module],
        objective: AnyObjective = DPO(),  # noqa: B008 - frozen
        reference: Optional[Union[Reference, nn.Module]] = None,
        *,
        lora: Optional[LoRA] = None,
        quantization_config: Optional[dict[str, Any]] = None,
        model_kwargs: Optional[dict[str, Any]] = None,
        gradient_checkpointing: bool = False,
        dropout: bool = False,
        step_zero_check: bool = True,
        router_aux_loss_coef: Optional[float] = None,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-6, weight_decay=0.0),
        schedule: Schedule = Constant(),  # noqa: B008 - frozen
    ) -> None:
        comparison = comparison_of(objective)
        check_makers(optimizer, schedule)
        options = PolicyOptions(
            lora, quantization_config, model_kwargs, gradient_checkpointing, dropout, router_aux_loss_coef
        )
        settings = checked_settings(reference, Reads.REFERENCE in objective.reads, type(objective).__name__)
        super().__init__(PolicySource(policy, options), settings)
        in_memory = {"policy": policy, "reference": reference}
        self.save_hyperparameters(ignore=[name for name, given in in_memory.items() if in_memory_only(given)])
        self.not_held = plain_hyperparameters(self.hparams, type(self))
        self.step_zero_check = step_zero_check
        self.objective, self.comparison = objective, comparison
        self.train_metrics, self.eval_metrics = comparison.means(), comparison.means()
        self.running_mean = RunningMean()
        self._optimizer, self._schedule = optimizer, schedule

    @property
    def reads_reference(self) -> bool:
        """True where the objective compares with a reference."""
        return Reads.REFERENCE in self.objective.reads

    @property
    def reads_baseline(self) -> bool:
        """True where the objective reads a mean over batches."""
        return Reads.BASELINE in self.objective.reads

    def step_metrics(self) -> dict[str, Metric]:
        """Return the metrics that a training step adds to."""
        return {"train_metrics": self.train_metrics, "running_mean": self.running_mean}

    def data_read(self) -> DataRead:
        """Return what the loss reads; override it for a `pair_losses` that reads other columns or completions."""
        return DataRead.by(self.objective)

    def configure_callbacks(self) -> list[pl.Callback]:
        """Return what makes every run safe; one of the Trainer's own of the same kind replaces it."""
        checks: list[pl.Callback] = [DurableSaves(), UpdateGuard(), ExactResume(), GracefulStop(), StartNotes()]
        if isinstance(self.reference_settings, Precomputed):
            checks.append(ReferenceCache())
        if self.step_zero_check:
            checks.append(StepZeroCheck())
        present = {type(callback) for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        return [check for check in checks if type(check) not in present]

    def configure_optimizers(self) -> Any:
        """Return the optimizer over the trainable parameters, and the schedule per optimizer step."""
        optimizer = self._optimizer(decay_groups(self))
        scheduler = self._schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def score(self, batch: PreferenceBatch) -> Scores:
        """Return the scores under policy and reference; an InputError for a batch that the objective cannot compare."""
        reference_logps = self.reference.token_logps(batch)
        policy = self.models.scored(batch, statistics_read(self.objective.reads))
        log_collisions = policy.statistics.get(Statistic.LOG_COLLISIONS)
        tokens = TokenScores(policy.logps, reference_logps, batch.sequence_id, batch.lengths, log_collisions)
        return self.comparison.scores(batch, tokens)

    def with_baseline(self, scores: Any, *, moves: bool = False) -> Any:
        """Return the scores with the means over ranks and batches that the objective reads; every rank must call."""
        return self.running_mean.added_to(scores, self.objective, moves=moves)

    def pair_losses(self, batch: PreferenceBatch, scores: ScoresT) -> Float[Tensor, " P"]:
        """Return the loss of each pair, or labelled completion: the objective. Override it to add terms."""
        return self.objective(scores)

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the batch's part of the mean over the optimizer step; without a `example_weight`, its own mean.

        Lightning divides by `accumulate_grad_batches` and the strategy by the number of ranks: of plain means that
        makes the mean over all pairs only where every micro-batch has equally many, and no window is cut short.
        """
        losses = self._step(batch, self.train_metrics, moves=True)
        return losses.mean() if batch.example_weight is None else losses.sum() * batch.example_weight

    def validation_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        """Add the batch to the means of the stage, validation or test."""
        self._step(batch, self.eval_metrics)

    test_step = validation_step

    def predict_step(self, batch: PreferenceBatch, batch_idx: int) -> dict[str, Tensor]:
        """Return ids, rewards and margin of pairs, each `[P]`; of labelled completions ids, rewards and labels."""
        return self.comparison.predicted(batch, self.score(batch))

    def _step(self, batch: PreferenceBatch, metrics: Means, *, moves: bool = False) -> Float[Tensor, " P"]:
        scores: Any = self.with_baseline(self.score(batch), moves=moves)
        losses = self.models.experts.balanced(self.comparison.losses(self.pair_losses, batch, scores))
        metrics.update(self.comparison.watched(scores, losses))
        return losses

    def on_fit_start(self) -> None:
        """Begin the means anew: a module can be fitted more than once."""
        self.train_metrics.reset()
        if self.trainer.ckpt_path is None:
            self.running_mean.reset()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log what the interval has added, while the gradient is there."""
        log_training(self, self.train_metrics, self.models.experts.metrics())

    def on_validation_epoch_start(self) -> None:
        """Leave out what a stage that was interrupted has added."""
        self.eval_metrics.reset()

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Log the validation means."""
        log_means(self, self.eval_metrics, "val")

    def on_test_epoch_end(self) -> None:
        """Log the test means."""
        log_means(self, self.eval_metrics, "test")


default_optimizer = PreferenceModule.__init__.__kwdefaults__["optimizer"]  # type: ignore[index]
default_optimizer.__qualname__ = "default_optimizer"  # a lambda, which the parser reads; pickle finds it by its name
