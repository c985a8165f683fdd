"""TRL's own trainers, as installed, in the model's dtype; what they compute is observed from the outside."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.import_utils import TRLExperimentalWarning

from dpo_lightning.batch import TokenizedExample, collate_tree
from tests.parity.worlds import Rows, World

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer
    from trl.experimental.tpo import TPOConfig, TPOTrainer


class Recording:
    """In front of a TRL trainer: keeps the loss of every step, which its own log rounds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[float] = []

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


class RecordingTrainer(Recording, DPOTrainer):
    """The stable one for pairs."""


class RecordingKTOTrainer(Recording, KTOTrainer):
    """The stable one for single completions with a label; keeps the KL estimate of every step, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kls: list[float] = []

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().compute_loss(*args, **kwargs)
        self.kls.append(self._metrics["train"]["kl"][-1])
        return loss


class RecordingCPOTrainer(Recording, CPOTrainer):
    """CPO, SimPO, AlphaPO: pairs without a reference."""


class RecordingORPOTrainer(Recording, ORPOTrainer):
    """ORPO."""


class RecordingTPOTrainer(Recording, TPOTrainer):
    """TPO: triples."""


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
    peft_config: Any = None,
    **settings: Any,
) -> RecordingTrainer:
    """A trainer with every default that would make the comparison unfair switched off."""
    return RecordingTrainer(
        model=world.policy(),
        ref_model=world.reference() if peft_config is None else None,
        args=DPOConfig(**plain_settings(world, output_dir, settings)),
        train_dataset=Dataset.from_list(rows or world.rows),
        processing_class=world.tokenizer(),
        peft_config=peft_config,
    )


def make_kto_trainer(
    world: World, output_dir: Path, rows: list[dict[str, Any]], **settings: Any
) -> RecordingKTOTrainer:
    """On rows of prompt, completion and label."""
    return RecordingKTOTrainer(
        model=world.policy(),
        ref_model=world.reference(),
        args=KTOConfig(**plain_settings(world, output_dir, settings)),
        train_dataset=Dataset.from_list(rows),
        processing_class=world.tokenizer(),
    )


def make_cpo_trainer(world: World, output_dir: Path, **settings: Any) -> RecordingCPOTrainer:
    return _unreferenced(RecordingCPOTrainer, CPOConfig, world, output_dir, settings)


def make_orpo_trainer(world: World, output_dir: Path, **settings: Any) -> RecordingORPOTrainer:
    return _unreferenced(RecordingORPOTrainer, ORPOConfig, world, output_dir, settings)


def make_tpo_trainer(world: World, output_dir: Path, rows: Rows, **settings: Any) -> RecordingTPOTrainer:
    return RecordingTPOTrainer(
        model=world.policy(),
        args=TPOConfig(**plain_settings(world, output_dir, settings)),
        train_dataset=Dataset.from_list(rows),
        processing_class=world.tokenizer(),
    )


def triples(world: World, gold: Sequence[int]) -> Rows:
    """The rows with a gold completion, whose numbers of letters come round again and again."""
    lengths = [gold[number % len(gold)] for number in range(len(world.rows))]
    return [
        {**row, "reference": (row["chosen"] + row["prompt"] + "abc")[:length]}
        for row, length in zip(world.rows, lengths, strict=True)
    ]


def triples_as_lists(rows: Any, batch: int) -> DataLoader[Any]:
    """TRL's tokenised triples as lists of three, the gold one with the highest score."""
    lists = [
        TokenizedExample(
            number,
            row["prompt_ids"],
            [row["rejected_ids"], row["chosen_ids"], row["reference_ids"]],
            columns={"score": [0.0, 1.0, 2.0]},
        )
        for number, row in enumerate(rows)
    ]
    return DataLoader(lists, batch_size=batch, collate_fn=collate_tree)  # type: ignore[arg-type]


def _unreferenced(trainer: Any, config: Any, world: World, output_dir: Path, settings: dict[str, Any]) -> Any:
    tokenizer = world.tokenizer()
    tokenizer.pad_token = tokenizer.eos_token  # their collator asks for one before the trainer sets it
    return trainer(
        model=world.policy(),
        args=config(**plain_settings(world, output_dir, {"remove_unused_columns": False, **settings})),
        train_dataset=Dataset.from_list(world.rows),
        processing_class=tokenizer,
    )


def plain_settings(world: World, output_dir: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What every trainer's config is given: no autocast, no recomputation, no schedule, the rows in their order."""
    return {
        "output_dir": str(output_dir),
        "bf16": False,
        "activation_checkpointing": False,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "train_sampling_strategy": "sequential",
        "learning_rate": world.lr,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "dataloader_pin_memory": False,
        **settings,
    }


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
