"""PreferenceModule: Lightning's hooks, and what a run offers its callbacks and its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Optional, Union

import lightning.pytorch as pl
from jaxtyping import Float
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import Metric

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.callbacks import OF_EVERY_RUN, ReferenceCache, StepZeroCheck
from dpo_lightning.checkpoints import CheckpointHooks, SettingsMode, checked_mode
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.logprobs import Statistic, statistics_read
from dpo_lightning.losses import DPO, AnyObjective, Reads
from dpo_lightning.losses.scores import Scores, ScoresT, TokenScores, unread
from dpo_lightning.policy import FusedLayers, LoRA, PolicyOptions, PolicySource
from dpo_lightning.policy.recompute import Checkpointing
from dpo_lightning.reference import GivesBack, ModelHooks, Precomputed, Reference, checked_settings, in_memory_only
from dpo_lightning.training import Constant, RunningMean, Schedule, TunedRate, check_makers, optimization
from dpo_lightning.training.evaluation import EvaluationHooks
from dpo_lightning.training.examples import comparison_of
from dpo_lightning.training.logging import LogsTraining
from dpo_lightning.training.schedules import schedule_anew
from dpo_lightning.training.set_means import SetMeans


class PreferenceModule(
    LogsTraining, EvaluationHooks, ModelHooks, CheckpointHooks, TunedRate, PreferenceLearner, Generic[ScoresT]
):
    """Trains a causal language model on preference pairs, or on completions with a label.

    Checkpoints hold the trainable parameters, and a reference that is moved. `pair_losses` is there to be overridden.

    Args:
        policy: Hub name or directory of a causal LM or of a trained PEFT adapter; or a module.
        objective: What is minimised. An `UnpairedObjective` (KTO, UnpairedBCO) takes the data's `UnpairedFormat`.
        reference: What the policy is compared with; null takes the cheapest that equals the policy before training:
            the adapter switched off, a frozen copy of a trained adapter or of the policy. A module is taken as it is.
        lora: Train low-rank adapters instead of the weights.
        quantization_config: Arguments of `transformers.BitsAndBytesConfig`, such as `load_in_4bit: true` (QLoRA).
        model_kwargs: Further arguments of `from_pretrained`: `revision`, `attn_implementation`, `trust_remote_code`.
        gradient_checkpointing: Recompute activations in the backward: less memory, about a third more time. `offload`
            keeps the inputs of the layers in the host's memory; `selective` keeps matrix products and attention.
        dropout: Keep the model's own dropout on; off, policy and reference agree before training.
        step_zero_check: Stop a fresh run whose policy and reference disagree on the first batch.
        fused_layers: Compile the layers' elementwise work: `auto` on a GPU in half precision, `compile`, or `none`.
        router_aux_loss_coef: Factor of the loss that keeps experts in use; null takes the model's own, 0 leaves it out.
        optimizer: Makes the optimizer from the parameters; weight decay is kept off norms and biases.
        schedule: Learning rate over the optimizer steps.
        resume: `exact` refuses a checkpoint of a run with other settings; `changed` goes on with those asked for here.

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
        gradient_checkpointing: Checkpointing = False,
        dropout: bool = False,
        step_zero_check: bool = True,
        router_aux_loss_coef: Optional[float] = None,
        fused_layers: FusedLayers = "auto",
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-6, weight_decay=0.0),
        schedule: Schedule = Constant(),  # noqa: B008 - frozen
        resume: SettingsMode = "exact",
    ) -> None:
        comparison = comparison_of(objective)
        check_makers(optimizer, schedule)
        options = PolicyOptions(
            lora, quantization_config, model_kwargs, gradient_checkpointing, dropout, router_aux_loss_coef, fused_layers
        )
        settings = checked_settings(reference, Reads.REFERENCE in objective.reads, type(objective).__name__)
        super().__init__(PolicySource(policy, options), settings)
        in_memory = {"policy": policy, "reference": reference}
        self.save_hyperparameters(ignore=[name for name, given in in_memory.items() if in_memory_only(given)])
        self.hold_arguments()
        self.step_zero_check, self.resume = StepZeroCheck.asked_for(step_zero_check), checked_mode(resume)
        self.objective, self.comparison = objective, comparison
        self.train_metrics, self.eval_metrics = comparison.means(), SetMeans(comparison.means())
        self.running_mean = RunningMean()
        self._optimizer, self._schedule = optimizer, schedule

    def __repr__(self) -> str:
        """Return its settings and the size of its model; `print(module.policy)` shows the layers."""
        held = vars(self)
        policy = held.get("_modules", {}).get("policy")
        counts = [] if policy is None else [_counted(parameter) for parameter in policy.parameters()]
        whole, trained = (sum(count[of] for count in counts) for of in (0, 1))
        size = "not loaded yet" if policy is None else f"{whole:,} parameters, {trained:,} trained"
        name = getattr(held.get("policy_source"), "policy", None)
        called = name if isinstance(name, str) else type(policy).__name__
        return f"{type(self).__name__}({called}: {size}; {held.get('objective')})"

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
        self.build_before_setup()
        checks: list[pl.Callback] = [GivesBack(), *(kind() for kind in OF_EVERY_RUN)]
        if isinstance(self.reference_settings, Precomputed):
            checks.append(ReferenceCache())
        checks += [StepZeroCheck()] if self.step_zero_check else []
        present = {type(callback) for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        return [check for check in checks if type(check) not in present]

    def configure_optimizers(self) -> Any:
        """Return the optimizer over the trainable parameters, and the schedule per optimizer step."""
        return optimization(self, self._optimizer, self._schedule)

    def score(self, batch: PreferenceBatch) -> Scores:
        """Return the scores under policy and reference; an InputError for a batch that the objective cannot compare."""
        reference = self.reference.token_logps(batch) if self.reads_reference else None
        policy = self.models.scored(batch, statistics_read(self.objective.reads))
        log_collisions = policy.statistics.get(Statistic.LOG_COLLISIONS)
        reference = unread(policy.logps) if reference is None else reference
        tokens = TokenScores(policy.logps, reference, batch.sequence_id, batch.lengths, log_collisions)
        return self.comparison.scores(batch, tokens)

    def with_baseline(self, scores: Any, *, moves: bool = False) -> Any:
        """Return the scores with the means over ranks and batches that the objective reads; every rank must call."""
        return self.running_mean.added_to(scores, self.objective, moves=moves)

    def pair_losses(self, batch: PreferenceBatch, scores: ScoresT) -> Float[Tensor, " P"]:
        """Return the loss of each pair, or labelled completion: the objective. Override it to add terms."""
        return self.objective(scores)

    def balanced(self, losses: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        """Return the losses with the auxiliary loss of the last batch's routers, where the model has experts."""
        return self.models.experts.balanced(losses)

    def expert_metrics(self) -> Mapping[str, Tensor]:
        """Return how the experts were used in the last micro-batch, by name; empty where the model has none."""
        return self.models.experts.metrics()

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        """Return the batch's part of the mean over the optimizer step; without a `example_weight`, its own mean.

        Lightning divides by `accumulate_grad_batches` and the strategy by the number of ranks: of plain means that
        makes the mean over all pairs only where every micro-batch has equally many, and no window is cut short.
        """
        own = self.own_batch(batch, "training_step")
        losses = self.compared(own, self.train_metrics.update, moves=True)
        return losses.mean() if own.example_weight is None else losses.sum() * own.example_weight

    def on_fit_start(self) -> None:
        """Begin the means anew: a module can be fitted more than once. And the schedule, where batches were resized."""
        schedule_anew(self.trainer)
        self.train_metrics.reset()
        if self.trainer.ckpt_path is None:
            self.running_mean.reset()


def _counted(parameter: nn.Parameter) -> tuple[int, int]:
    """Return the weights of a parameter, and those that are trained."""
    return parameter.numel(), parameter.numel() * parameter.requires_grad


default_optimizer = PreferenceModule.__init__.__kwdefaults__["optimizer"]  # type: ignore[index]
default_optimizer.__qualname__ = "default_optimizer"  # a lambda, which the parser reads; pickle finds it by its name
