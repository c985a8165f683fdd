"""Export of the trained policy as a Hugging Face directory."""

from __future__ import annotations

from typing import Any, Optional

import lightning.pytorch as pl
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.export import check_target, merge_adapter, merge_problem, write_model
from dpo_lightning.run import run_of, source_of
from dpo_lightning.utils.kinds import check_arguments


class Export(pl.Callback):
    """Writes weights (safetensors), tokenizer and chat template when the fit ends; plain transformers or peft load it.

    With LoRA, `path` holds the adapter. A directory is written under a temporary name and renamed.

    Args:
        path: Directory of the export; an earlier one is replaced.
        merged_path: With LoRA, also write the merged weights here, as a model without adapters.
        every_checkpoint: Also export to `path` + `-step-N` whenever a checkpoint is saved.

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

    def __init__(self, path: str, merged_path: Optional[str] = None, every_checkpoint: bool = False) -> None:
        check_arguments(Export, locals(), "Export.")
        self.path = path
        self.merged_path = merged_path
        self.every_checkpoint = every_checkpoint

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a policy, or a path, before training that cannot be exported, or written to, after it.

        Raises:
            InputError: for a policy that transformers cannot save, or weights that cannot be merged.
        """
        policy = run_of(pl_module, "Export").policy
        check_target(self.path)
        if self.merged_path is not None:
            check_target(self.merged_path)
        if not hasattr(policy, "save_pretrained"):
            raise InputError(f"Export: {type(policy).__name__} is no Hugging Face model: leave the callback out")
        if self.merged_path is not None and (problem := merge_problem(policy)):
            raise InputError(f"Export.merged_path: {problem}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export the policy as it stands."""
        policy = self._export(trainer, pl_module, self.path)
        if self.merged_path is not None and policy is not None:
            config = run_of(pl_module, "Export").original_config()
            write_model(merge_adapter(policy), config, _tokenizer(trainer), self.merged_path)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Export with each checkpoint, if `every_checkpoint` is set."""
        if self.every_checkpoint:
            self._export(trainer, pl_module, f"{self.path}-step-{trainer.global_step}")

    def _export(self, trainer: pl.Trainer, pl_module: pl.LightningModule, path: str) -> nn.Module | None:
        """Export on rank 0, and return the policy there; every rank must call, since the policy may be sharded."""
        run = run_of(pl_module, "Export")
        policy = run.whole_policy()
        if policy is None or not trainer.is_global_zero:
            return None
        write_model(policy, run.original_config(), _tokenizer(trainer), path)
        return policy


def _tokenizer(trainer: pl.Trainer) -> Any:
    """The DataModule's; a pipeline with its own loaders saves its own."""
    data = source_of(trainer)
    return None if data is None else data.tokenizer
