"""The LightningModule: wiring between policy, reference, objective, optimizer and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Optional, Union, cast

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import AdamW, Optimizer

from dpo_lightning.attention import tree_problem
from dpo_lightning.batch import Collate, PreferenceBatch, TokenizedExample
from dpo_lightning.callbacks import DurableSaves, ExactResume, GracefulStop, ReferenceCache, StepZeroCheck, UpdateGuard
from dpo_lightning.checkpoints import load_plain, local_copy
from dpo_lightning.checkpoints.hyperparameters import plain_hyperparameters
from dpo_lightning.checkpoints.run_state import add_run_state, restore_run_state
from dpo_lightning.checkpoints.standalone import arguments_in_place
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.interfaces import PreferenceLearner
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.logprobs import Statistic, TokenScorer, statistics_read
from dpo_lightning.losses import DPO, AnyObjective, Observation, Reads
from dpo_lightning.losses.scores import ChosenScores, PairScores, TokenScores, UnpairedScores
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, float32_buffers_kept
from dpo_lightning.policy.sharding import check_strategy, gathered, meta_copy, shard, weights_on_rank_zero
from dpo_lightning.policy.source import PolicySource
from dpo_lightning.reference import (
    BoundReference,
    FrozenModule,
    LostReference,
    NoReference,
    Precomputed,
    Reference,
    settle_reference,
)
from dpo_lightning.training.baseline import RunningMean
from dpo_lightning.training.examples import comparison_of
from dpo_lightning.training.logging import log_means
from dpo_lightning.training.metrics import ChosenMean, PairMean, UnpairedMean
from dpo_lightning.training.parameters import clip_by_norm, decay_groups, gradient_norm
from dpo_lightning.training.schedules import Constant, Schedule
from dpo_lightning.utils.tensors import device_of


class PreferenceModule(pl.LightningModule, PreferenceLearner):
    """Trains a causal language model on preference pairs, or on single completions with a label.

    Checkpoints hold the trainable parameters, and a reference that is moved. To change the loss
    of a subclass, override `pair_losses`.

    Args:
        policy: Hub name or directory of a causal LM or of a trained PEFT adapter; or a module.
        objective: What is minimised. An `UnpairedObjective` (KTO, UnpairedBCO) takes the data's `UnpairedFormat`.
        reference: What the policy is compared with; null takes the cheapest that equals the policy before training:
            the adapter switched off, a frozen copy of a trained adapter, or a frozen copy of the policy. A module is
            taken as it is.
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
        objective: AnyObjective = DPO(),  # noqa: B008 - frozen
        reference: Optional[Union[Reference, nn.Module]] = None,
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
        if isinstance(reference, nn.Module):
            reference = FrozenModule(reference)
        is_read = Reads.REFERENCE in objective.reads
        if not (is_read or reference is None or isinstance(reference, NoReference | LostReference)):
            raise InputError(f"objective {type(objective).__name__} has no reference: leave `reference` out")
        in_memory = {"policy": isinstance(policy, nn.Module), "reference": isinstance(reference, FrozenModule)}
        self.save_hyperparameters(ignore=[name for name, is_model in in_memory.items() if is_model])
        plain_hyperparameters(self.hparams)
        if "objective" not in self.hparams:
            rank_zero_warn(f"{type(objective).__name__} is no dataclass: pass it to load_from_checkpoint again")
        options = PolicyOptions(lora, quantization_config, model_kwargs, gradient_checkpointing, dropout)
        self.policy_source = PolicySource(policy, options)
        self.policy_name = self.policy_source.name
        self.objective = objective
        self.reference_settings = reference if is_read else NoReference()
        self.step_zero_check = step_zero_check
        self._reference: BoundReference | None = None
        self.examples_of_loaders: list[Sequence[TokenizedExample]] = []  # to be scored, as those of a DataModule are
        self.comparison = comparison_of(objective)
        self.train_metrics, self.eval_metrics = self.comparison.means(), self.comparison.means()
        self.running_mean = RunningMean()
        self._optimizer = optimizer
        self._schedule = schedule

    @property
    def policy(self) -> nn.Module:
        """The model that is trained.

        Raises:
            RunError: before `configure_model()`.
        """
        if "policy" not in self._modules:
            raise RunError(_not_built("policy"))
        return cast(nn.Module, self._modules["policy"])

    @property
    def reference(self) -> BoundReference:
        """What the policy is compared with.

        Raises:
            RunError: before `configure_model()`.
        """
        if self._reference is None:
            raise RunError(_not_built("reference"))
        return self._reference

    def prepare_data(self) -> None:
        """Find out that there is no such model before anything is written."""
        if self._reference is None:
            self.policy_source.check()

    def configure_model(self) -> None:
        """Build policy and reference once; Lightning calls this again for each stage."""
        if self._reference is not None:
            return
        if self._trainer is not None:
            check_strategy(self.trainer.strategy)
        trained_adapter = self.policy_source.has_trained_adapter
        with weights_on_rank_zero(self._device_mesh):
            policy = self.policy_source.build(self._precision)
            reference = settle_reference(self.reference_settings, policy, trained_adapter).bind(policy)
        if self._device_mesh is not None:
            self._shard(self._device_mesh, policy, reference)
        self._modules["policy"], self._reference = policy, reference  # as `self.policy = policy` without the property
        self._scorer = TokenScorer(policy)

    @property
    def _precision(self) -> str | None:
        return None if self._trainer is None else str(self.trainer.precision)

    def _shard(self, mesh: DeviceMesh, policy: nn.Module, reference: BoundReference) -> None:
        self._structure = (meta_copy(policy),)  # in a tuple: not registered
        device = self.trainer.strategy.root_device
        shard(policy, mesh, device, trained=True)
        for model in reference.own_models():
            shard(model, mesh, device, trained=False)

    def whole_policy(self) -> nn.Module | None:
        """The policy with all its weights; every rank must ask.

        Returns:
            The policy itself. Of a sharded one, on rank 0 a copy in the CPU's memory, and None elsewhere.
        """
        return self.policy if self._device_mesh is None else gathered(self.policy, self._structure[0])

    def policy_again(self) -> nn.Module:
        """The policy as it was before training, loaded once more.

        Raises:
            InputError: when it was given as a module.
        """
        device = device_of(self.policy)
        with weights_on_rank_zero(self._device_mesh):
            policy = self.policy_source.build_again(self._precision)
        if self._device_mesh is None:
            return policy.to(device)
        shard(policy, self._device_mesh, device, trained=False)
        return policy

    def with_reference(self, collate: Collate, pairs: Sequence[TokenizedExample] = ()) -> Collate:
        """Return the collate function of a loader, or one whose batches bring the values of a `Precomputed` reference.

        Args:
            collate: Makes the batch: `collate_tree`, `collate_padded`.
            pairs: All pairs that a loader of your own will give, to be scored when the Trainer starts; such a loader
                takes `num_workers=0`, since Lightning starts workers before. Nothing for a `PreferenceDataModule`'s.
        """

        def late(examples: Sequence[TokenizedExample]) -> PreferenceBatch:
            return self.reference.collate(collate)(examples)

        if len(pairs):
            self.examples_of_loaders.append(pairs)
        if self._reference is None:
            return late
        return self.reference.collate(collate)

    def tree_problem(self) -> str | None:
        """Why the tree layout is wrong for the policy or its reference, in one line; None where it is right.

        A DataModule asks before its first batch. The answer is that of a self-test of the loaded models, run once.
        """
        return self._tree_problem

    def data_read(self) -> DataRead:
        """What the loss reads of the data; a DataModule asks before it reads a row.

        Override it together with a `pair_losses` that reads other columns.
        """
        return DataRead.by(self.objective)

    @cached_property
    def _tree_problem(self) -> str | None:
        device = device_of(self.policy)
        own = [("reference", model.to(device)) for model in self.reference.own_models()]
        for role, model in [("policy", self.policy), *own]:
            if problem := tree_problem(model):
                return f"the tree layout does not fit the {role}: {problem}"
        return None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's config, a reference that is moved, and the mean that the loss reads."""
        add_run_state(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them; an InputError where the reference cannot become the saved one."""
        restore_run_state(self, checkpoint)

    @_restricted_classmethod
    def load_from_checkpoint(
        cls,  # noqa: N805 - the decorator is Lightning's classmethod
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: Optional[bool] = None,
        weights_only: Optional[bool] = None,
        **kwargs: Any,
    ) -> Any:
        """Build the module that a run has saved; a whole model also where the policy's directory is not there.

        Args:
            checkpoint_path: A file or a URL.
            map_location: Where tensors go, as in `torch.load`.
            hparams_file: YAML or CSV in place of the saved constructor arguments.
            strict: Whether the trainable parameters must be exactly those saved.
            weights_only: False allows any object in a local file, and with it the code that it brings.
            kwargs: Constructor arguments that replace the saved ones; `policy` where it was a module.

        Raises:
            InputError: for a damaged file, and where the checkpoint needs a model that is not there.
        """
        with local_copy(checkpoint_path, weights_only) as path:
            if path is not None and weights_only is not False:
                saved = load_plain(path, str(checkpoint_path), mmap=True)
                kwargs = {**kwargs, **arguments_in_place(saved, str(checkpoint_path), kwargs)}
            source = checkpoint_path if path is None else path
            return super().load_from_checkpoint(
                source, map_location, hparams_file, strict, weights_only is not False, **kwargs
            )

    def configure_callbacks(self) -> list[pl.Callback]:
        """What makes every run safe; one of the Trainer's own of the same kind replaces it."""
        checks: list[pl.Callback] = [DurableSaves(), UpdateGuard(), ExactResume(), GracefulStop()]
        if isinstance(self.reference_settings, Precomputed):
            checks.append(ReferenceCache())
        if self.step_zero_check:
            checks.append(StepZeroCheck())
        present = {type(callback) for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        return [check for check in checks if type(check) not in present]

    def configure_optimizers(self) -> Any:
        """The optimizer over the trainable parameters, and the schedule per optimizer step."""
        optimizer = self._optimizer(decay_groups(self))
        scheduler = self._schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def score(self, batch: PreferenceBatch) -> PairScores | ChosenScores | UnpairedScores:
        """Log-probs of the batch's completions under policy and reference.

        Raises:
            InputError: for pairs where the objective reads single completions, and the other way round.
        """
        reference_logps = self.reference.token_logps(batch)
        policy = self._scorer(batch, statistics_read(self.objective.reads))
        log_collisions = policy.statistics.get(Statistic.LOG_COLLISIONS)
        tokens = TokenScores(policy.logps, reference_logps, batch.sequence_id, batch.lengths, log_collisions)
        return self.comparison.scores(batch, tokens)

    def with_baseline(self, scores: Any, *, moves: bool = False) -> Any:
        """The scores with the means over ranks and batches that the objective reads; every rank must call.

        Args:
            scores: Of a batch.
            moves: Whether the batch is one of the training, which moves the running mean.
        """
        if Reads.BASELINE not in self.objective.reads:
            return scores
        observation = cast(Observation, self.objective.observe(scores))
        return scores._replace(baseline=self.running_mean.baseline(observation, moves=moves))

    def pair_losses(self, batch: PreferenceBatch, scores: Any) -> Float[Tensor, " P"]:
        """Loss of each pair, or labelled completion: the objective. Override it to add terms."""
        return self.objective(scores)

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> Float[Tensor, ""]:
        """The batch's part of the mean over the pairs of the optimizer step; without a `example_weight`, its own mean.

        Lightning divides by `accumulate_grad_batches` and the strategy by the number of ranks: of plain means that
        makes the mean over all pairs only where every micro-batch has equally many, and no window is cut short.
        """
        losses = self._step(batch, self.train_metrics, moves=True)
        return losses.mean() if batch.example_weight is None else losses.sum() * batch.example_weight

    def validation_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        """Add the batch to the validation means."""
        self._step(batch, self.eval_metrics)

    def test_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        """Add the batch to the test means."""
        self._step(batch, self.eval_metrics)

    def predict_step(self, batch: PreferenceBatch, batch_idx: int) -> dict[str, Tensor]:
        """Pair ids, rewards and margin, each ``[P]``; of labelled completions their ids, rewards and labels."""
        return self.comparison.predicted(batch, self.score(batch))

    def _step(
        self, batch: PreferenceBatch, metrics: PairMean | ChosenMean | UnpairedMean, *, moves: bool = False
    ) -> Float[Tensor, " P"]:
        scores: Any = self.with_baseline(self.score(batch), moves=moves)
        losses = self.pair_losses(batch, scores)
        metrics.update(self.comparison.watched(scores, losses))
        return losses

    def on_fit_start(self) -> None:
        """Begin the means anew: a module can be fitted more than once."""
        self.train_metrics.reset()
        if self.trainer.ckpt_path is None:
            self.running_mean.reset()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log, once per interval, the gradient's norm before clipping and the means over the pairs since the last log.

        That is one reduction over ranks. The end of the step then finds empty sums: a checkpoint taken there and the
        log agree on what was reported.
        """
        if (self.global_step + 1) % cast(Any, self.trainer).log_every_n_steps == 0:
            self.log("train/grad_norm", gradient_norm(self))
            log_means(self, self.train_metrics, "train")

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Lightning's, but for gradients on more than one device mesh, whose norm torch does not take."""
        if self._device_mesh is None or gradient_clip_algorithm == "value" or not gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            clip_by_norm(self, gradient_clip_val)

    def on_validation_epoch_start(self) -> None:
        """Leave out what a validation that was interrupted has added."""
        self.eval_metrics.reset()

    def on_test_epoch_start(self) -> None:
        """Leave out what a test that was interrupted has added."""
        self.eval_metrics.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the validation means."""
        log_means(self, self.eval_metrics, "val")

    def on_test_epoch_end(self) -> None:
        """Log the test means."""
        log_means(self, self.eval_metrics, "test")

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


def _not_built(name: str) -> str:
    return f"PreferenceModule.{name}: there is none yet: call configure_model() first; a Trainer does so by itself"
