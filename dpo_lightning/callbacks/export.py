"""The trained policy as a Hugging Face directory."""

from __future__ import annotations

from typing import Any, Optional

import lightning.pytorch as pl
from torch import nn

from dpo_lightning.data import PreferenceSource
from dpo_lightning.errors import InputError
from dpo_lightning.policy.export import check_target, merge_adapter, merge_problem, write_model
from dpo_lightning.run import run_of


class Export(pl.Callback):
    """Writes weights (safetensors), tokenizer and chat template when the fit ends; plain transformers or peft load it.

    With LoRA, `path` holds the adapter. A directory is written under a temporary name and renamed.

    Args:
        path: Directory of the export; an earlier one is replaced.
        merged_path: With LoRA, also write the merged weights here, as a model without adapters.
        every_checkpoint: Also export to `path` + `-step-N` whenever a checkpoint is saved.
    """

    def __init__(self, path: str, merged_path: Optional[str] = None, every_checkpoint: bool = False) -> None:
        self.path = path
        self.merged_path = merged_path
        self.every_checkpoint = every_checkpoint

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse before training what cannot be exported after it.

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
        """Export beside a checkpoint, if asked."""
        if self.every_checkpoint:
            self._export(trainer, pl_module, f"{self.path}-step-{trainer.global_step}")

    def _export(self, trainer: pl.Trainer, pl_module: pl.LightningModule, path: str) -> nn.Module | None:
        """On rank 0, which gets the policy; the others take part, since it may be sharded."""
        run = run_of(pl_module, "Export")
        policy = run.whole_policy()
        if policy is None or not trainer.is_global_zero:
            return None
        write_model(policy, run.original_config(), _tokenizer(trainer), path)
        return policy


def _tokenizer(trainer: pl.Trainer) -> Any:
    """The DataModule's; a pipeline with its own loaders saves its own."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    return data.tokenizer if isinstance(data, PreferenceSource) else None
