"""TRL's own DPOTrainer, as installed, in plain float32; what it computes is observed from the outside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer

from tests.parity.worlds import Rows, World


class RecordingTrainer(DPOTrainer):
    """Keeps the loss of every step, which its own log rounds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[float] = []

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


class TRLScores(NamedTuple):
    """Each ``[P]`` but the loss, which TRL reduces to the mean of the batch."""

    policy_chosen_logps: Tensor
    policy_rejected_logps: Tensor
    reference_chosen_logps: Tensor
    reference_rejected_logps: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor
    loss: Tensor


def make_trainer(
    world: World,
    output_dir: Path,
    *,
    rows: Rows | None = None,
    policy: PreTrainedModel | None = None,
    peft_config: Any = None,
    **settings: Any,
) -> RecordingTrainer:
    """A trainer with every default that would make the comparison unfair switched off."""
    policy = policy or world.policy()
    args = DPOConfig(
        output_dir=str(output_dir),
        **{
            "bf16": False,
            "activation_checkpointing": False,
            "use_cpu": True,
            "report_to": "none",
            "save_strategy": "no",
            "eval_strategy": "no",
            "disable_tqdm": True,
            "train_sampling_strategy": "sequential",
            "learning_rate": world.lr,
            "lr_scheduler_type": "constant",
            "optim": "adamw_torch",
            "weight_decay": 0.0,
            "dataloader_pin_memory": False,
            **settings,
        },
    )
    return RecordingTrainer(
        model=policy,
        ref_model=world.policy() if peft_config is None else None,
        args=args,
        train_dataset=Dataset.from_list(rows or world.rows),
        processing_class=world.tokenizer(),
        peft_config=peft_config,
    )


def score(trainer: RecordingTrainer, pairs: Sequence[int]) -> TRLScores:
    """Run TRL's loss on these rows of its dataset.

    Its per-pair values are what it hands to ``accelerator.gather`` for its metrics.
    """
    inputs = trainer.data_collator([trainer.train_dataset[pair] for pair in pairs])
    trainer.model.train()
    reference = trainer.compute_ref_log_probs(trainer.ref_model or trainer.model, inputs)
    gathered: list[Tensor] = []
    gather = trainer.accelerator.gather

    def keep(value: Tensor) -> Tensor:
        if value.ndim == 1:
            gathered.append(value)
        return gather(value)

    with patch.object(trainer.accelerator, "gather", keep):
        loss = trainer.compute_loss(trainer.model, inputs)
    chosen_rewards, rejected_rewards, _, _, chosen, rejected = gathered
    return TRLScores(chosen, rejected, *reference, chosen_rewards, rejected_rewards, loss)


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    """Gradients of the trainable parameters by name."""
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
