"""Export of the trained policy as a Hugging Face directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Optional

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from dpo_lightning.callbacks.best_weights import averaged_weights, best_weights, monitoring_checkpoint, weights_replaced
from dpo_lightning.callbacks.record_places import record_of
from dpo_lightning.callbacks.run_facts import facts_of, readable
from dpo_lightning.errors import InputError
from dpo_lightning.policy.export import (
    STEP_SUFFIX,
    ExportForm,
    check_target,
    export_problem,
    would_replace,
    write_model,
)
from dpo_lightning.report.model_card import Card
from dpo_lightning.report.record import RunRecord
from dpo_lightning.report.recorded_samples import card_at, shown_samples
from dpo_lightning.run import PreferenceRun, run_of, source_of
from dpo_lightning.utils.hub_upload import HubTarget
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.ranks import from_rank_zero
from dpo_lightning.utils.settings import at_least, check_rules
from dpo_lightning.utils.tensors import device_of


class Export(pl.Callback):
    """Writes weights (safetensors), tokenizer and chat template when the fit ends; plain transformers or peft load it.

    The weights are those that the module has when all callbacks are done with them, wherever this one stands. With
    LoRA, `path` holds the adapter. A directory is written under a temporary name, loaded from there, compared with the
    policy on a few tokens, and then renamed. `fast_dev_run` writes nothing.

    Args:
        path: Directory of the export; an earlier one is replaced. Null where only merged weights are wanted.
        merged_path: With LoRA, also write the merged weights here, as a model without adapters.
        every_checkpoint: Also export to `path` + `-step-N` whenever a checkpoint is saved.
        dtype: Dtype to write the weights in, `float32`, `bfloat16` or `float16`; null for that of the run.
        best: Take the weights of the best checkpoint, by the `ModelCheckpoint` that monitors a metric.
        push_to: Repository of the Hugging Face hub, `user/model`, that gets the export too, once it is on disk: of
            `path`, or without one of `merged_path`. The hub is asked before training whether it may.
        private: Whether the repository is private: one that is there must be as it says; null for what the account has
            set.
        revision: Branch of the repository; null for the main one.
        samples: Prompts of a `SampleTable` that the model card shows, with what the policy says to them.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from torch.utils.data import DataLoader
        >>> from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
        >>> from dpo_lightning import PreferenceModule, TokenizedExample
        >>> from dpo_lightning.batch import collate_padded
        >>> from dpo_lightning.callbacks import Export
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> data = DataLoader([TokenizedExample.pair(0, [1, 2], [3, 4], [5])], collate_fn=collate_padded)
        >>> settings = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
        >>> trainer = Trainer(max_steps=1, callbacks=[Export("policy")], **settings)
        >>> trainer.fit(PreferenceModule(LlamaForCausalLM(config)), data)
        >>> type(AutoModelForCausalLM.from_pretrained("policy")).__name__
        'LlamaForCausalLM'
    """

    def __init__(  # noqa: PLR0913 - the constructor is the config
        self,
        path: Optional[str] = None,
        merged_path: Optional[str] = None,
        every_checkpoint: bool = False,
        dtype: Optional[str] = None,
        best: bool = False,
        *,
        push_to: Optional[str] = None,
        private: Optional[bool] = None,
        revision: Optional[str] = None,
        samples: int = 3,
    ) -> None:
        check_arguments(Export, locals(), "Export.")
        check_rules("Export.", locals(), samples=at_least(0))
        if path is None and (merged_path is None or every_checkpoint):
            raise InputError("Export.path: give the directory to write to")
        for name, given in {"path": path, "merged_path": merged_path}.items():
            if given is not None and not Path(given).name:
                raise InputError(f"Export.{name}: {str(given)!r} is no name of a directory: give one")
        self.path = path
        self.merged_path = merged_path
        self.every_checkpoint = every_checkpoint
        self.best = best
        self.samples = samples
        self._hub = _hub_target(push_to, private, revision)
        self._form = ExportForm(dtype=dtype)
        self._merged_form = ExportForm(merged=True, dtype=dtype)
        self._trained = False
        self._card = Card()
        self._record: RunRecord | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin a stage, in which nothing is trained yet."""
        self._trained = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a policy, or a path, before training that cannot be exported, or written to, after it.

        Raises:
            InputError: for a policy that transformers cannot save, weights that cannot be merged, a path that the run
                reads from, and where no checkpoint is the best.
        """
        run = run_of(pl_module, "Export")
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._check_paths(run)
        for name, form in self._wanted().items():
            if problem := export_problem(run.policy, form, None if form.merged else run.lost_base()):
                raise InputError(f"Export.{name}: {problem}")
        if self.best:
            monitoring_checkpoint(trainer)
        if problem := from_rank_zero(self._hub_problem() if trainer.is_global_zero else None):
            raise InputError(problem)  # on all ranks: the others would wait for rank 0

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that there is something to export; other callbacks, and the module, may still change the weights."""
        self._trained = not trainer.fast_dev_run  # type: ignore[attr-defined]
        self._card = card_of(trainer, pl_module)
        self._record = record_of(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Export the policy as the fit leaves it, or as it was at the best checkpoint."""
        if stage != "fit" or not self._trained:
            return
        self._trained = False
        run = run_of(pl_module, "Export")
        with _rank_zero_policy(trainer, run, moved=True) as policy:
            if policy is None:
                return
            state, step = best_weights(trainer) if self.best else ({}, None)
            card = self._card._replace(samples=shown_samples(self._record, self.samples, step))
            if step is not None:
                card = card_at(card, self._record, step)
            with weights_replaced(policy, state):
                for name, form in self._wanted().items():
                    write_model(policy, run.original_config(), _tokenizer(trainer), getattr(self, name), form, card)
        if self._hub is not None:
            rank_zero_info(f"pushed to {self._hub.push(str(self.path or self.merged_path))}")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Export the weights of each checkpoint, with `every_checkpoint`: under a `WeightAveraging` the average."""
        if not self.every_checkpoint or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        run = run_of(pl_module, "Export")
        with _rank_zero_policy(trainer, run) as policy:
            if policy is not None:
                path = f"{self.path}{STEP_SUFFIX}{trainer.global_step}"
                with weights_replaced(policy, averaged_weights(trainer, pl_module)):
                    write_model(
                        policy,
                        run.original_config(),
                        _tokenizer(trainer),
                        path,
                        self._form,
                        card_of(trainer, pl_module),
                    )

    def _wanted(self) -> dict[str, ExportForm]:
        """Return the form of each export, by the argument that says where it goes."""
        forms = {"path": self._form, "merged_path": self._merged_form}
        return {name: form for name, form in forms.items() if getattr(self, name) is not None}

    def _hub_problem(self) -> str | None:
        try:
            if self._hub is not None:
                self._hub.check()
        except InputError as error:
            return str(error)
        return None

    def _check_paths(self, run: PreferenceRun) -> None:
        read = run.names_read()
        if self.path is not None:
            check_target(self.path, read, numbered=self.every_checkpoint)
        if self.merged_path is not None:
            check_target(self.merged_path, read)
        if self.path is not None and self.merged_path is not None and would_replace(self.path, self.merged_path):
            raise InputError(f"Export: merged_path {self.merged_path} is in path {self.path}: give two directories")


def card_of(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Card:
    """Return what the model card says of a run, as far as it can be read."""
    metrics = readable({name: partial(float, value) for name, value in trainer.callback_metrics.items()})
    return Card({**facts_of(trainer, pl_module), "step": trainer.global_step}, metrics)


def _hub_target(push_to: str | None, private: bool | None, revision: str | None) -> HubTarget | None:
    if push_to is not None:
        return HubTarget(push_to, private, revision, "Export.push_to")
    for name, value in {"private": private, "revision": revision}.items():
        if value is not None:
            raise InputError(f"Export.{name} is that of the repository in push_to, which is not given: leave it out")
    return None


@contextmanager
def _rank_zero_policy(trainer: pl.Trainer, run: PreferenceRun, *, moved: bool = False) -> Iterator[nn.Module | None]:
    """Yield the whole policy on rank 0, and None elsewhere; every rank must call, since the policy may be sharded.

    Args:
        trainer: The Trainer.
        run: The run.
        moved: Whether the Trainer has moved the module to the CPU: quantized weights go back to compute where they did.
    """
    policy = run.whole_policy()
    if policy is None or not trainer.is_global_zero:
        yield None
        return
    here, away = device_of(policy), moved and getattr(policy, "is_quantized", False)
    if away:
        policy.to(trainer.strategy.root_device)
    yield policy
    if away:
        policy.to(here)


def _tokenizer(trainer: pl.Trainer) -> Any:
    """The DataModule's; a pipeline with its own loaders saves its own."""
    data = source_of(trainer)
    return None if data is None else data.tokenizer
