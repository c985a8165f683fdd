"""Export of the trained policy as a Hugging Face directory."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Optional, cast

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.prepare import is_dropout_rate
from dpo_lightning.run import run_of
from dpo_lightning.utils.files import replaced


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
        >>> from dpo_lightning import PreferenceModule, TokenizedPair
        >>> from dpo_lightning.batch import collate_padded
        >>> from dpo_lightning.callbacks import Export
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> data = DataLoader([TokenizedPair(0, [1, 2], [3, 4], [5])], collate_fn=collate_padded)
        >>> settings = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
        >>> trainer = Trainer(max_steps=1, callbacks=[Export("policy")], **settings)
        >>> trainer.fit(PreferenceModule(LlamaForCausalLM(config)), data)
        >>> type(AutoModelForCausalLM.from_pretrained("policy")).__name__
        'LlamaForCausalLM'
    """

    def __init__(self, path: str, merged_path: Optional[str] = None, every_checkpoint: bool = False) -> None:
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
            write_model(merged(policy), config, _tokenizer(trainer), self.merged_path)

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
    """Return the DataModule's tokenizer; None for loaders of the user's own."""
    return getattr(getattr(trainer, "datamodule", None), "tokenizer", None)


def merge_problem(policy: nn.Module) -> str | None:
    """Return the reason why the weights cannot be merged, in one line, or None."""
    if not is_adapted(policy):
        return "the policy has no adapter to merge; without it, the whole model is exported"
    if getattr(policy, "is_quantized", False):
        return (
            "merging into 4-bit weights loses precision: export the adapter, then load it on the unquantised model "
            "with peft and merge there"
        )
    return None


def merged(policy: nn.Module) -> nn.Module:
    """Return a copy of an adapted policy, in the CPU's memory, with the adapter merged into its weights."""
    return cast(Any, copy.deepcopy(policy).cpu()).merge_and_unload()


def check_target(path: str) -> None:
    """Check that an export may replace what is at its path.

    Raises:
        InputError: for a directory that holds something else than a model.
    """
    found = {entry.name for entry in Path(path).iterdir()} if Path(path).is_dir() else set()
    if found and not found & {"config.json", "adapter_config.json"}:
        raise InputError(f"export to {path}: there is a directory that holds no model: give another path, or empty it")


def write_model(policy: nn.Module, config: dict[str, Any] | None, tokenizer: Any, path: str) -> None:
    """Write a Hugging Face directory, whole or not at all.

    Args:
        policy: The policy, or the merged one; of an adapted policy the trained adapter is written.
        config: The model's config before training changed it; None where it has none.
        tokenizer: The tokenizer to write beside it; None for none.
        path: The directory; an earlier one is replaced.

    Raises:
        InputError: for a directory that holds something else than a model.
    """
    check_target(path)
    model = cast(Any, policy)
    with replaced(path) as directory:
        if is_adapted(policy):
            model.save_pretrained(directory, selected_adapters=[model.active_adapter])
        else:
            model.save_pretrained(directory)
            _restore_config(directory / "config.json", config or {})
        if tokenizer is not None:
            tokenizer.save_pretrained(directory)
    rank_zero_info(f"exported to {path}")


def _restore_config(path: Path, original: dict[str, Any]) -> None:
    """Give the exported config the caching and dropout that training switched off."""
    config = json.loads(path.read_text(encoding="utf-8"))
    _restore_fields(config, original)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _restore_fields(config: dict[str, Any], original: dict[str, Any]) -> None:
    """Restore the fields of a config and of those inside it: of the text model, of an encoder."""
    for name in config.keys() & original.keys():
        if isinstance(config[name], dict) and isinstance(original[name], dict):
            _restore_fields(config[name], original[name])
        elif name == "use_cache" or is_dropout_rate(name):
            config[name] = original[name]
