"""Our sides of `compare.py`: Lightning's loop, and the same step in a plain loop."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.utils.data import DataLoader

from benchmarks.compare_sides import LEARNING_RATE, LORA, RECIPE, SIDES, Spec
from benchmarks.recording import Recorder
from dpo_lightning import DPO, AllPairs, ListScores, LoRA, PairScores, PreferenceBatch, PreferenceModule
from dpo_lightning.data import collate_padded, collate_tree
from dpo_lightning.losses.lists import listed_pairs

PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


class RecordedModule(PreferenceModule):
    """Shows the first log-probs to a recorder."""

    recorder: Recorder

    def pair_losses(self, batch: PreferenceBatch, scores: Any) -> Tensor:
        """Show them on the way."""
        self.recorder.see_logps(torch.cat(_logps_of_pairs(scores)))
        return super().pair_losses(batch, scores)


def _logps_of_pairs(scores: PairScores | ListScores) -> tuple[Tensor, Tensor]:
    """Those of the chosen and of the rejected completions; of lists, of all pairs."""
    if isinstance(scores, PairScores):
        return scores.policy_chosen_logps, scores.policy_rejected_logps
    first, second = listed_pairs(scores)
    return scores.policy_logps[first], scores.policy_logps[second]


class Clock(pl.Callback):
    """Hands each step to a recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The end of a step."""
        self.recorder.see_loss(outputs["loss"])
        self.recorder.end_step()


def run_lightning(spec: Spec) -> dict[str, Any]:
    """Train with `Trainer.fit`."""
    pl.seed_everything(RECIPE["seed"], verbose=False)
    module = _module(spec)
    trainer = pl.Trainer(
        max_steps=spec.steps,
        accelerator="gpu" if spec.device == "cuda" else "cpu",
        devices=1,
        precision=PRECISION[spec.precision],  # type: ignore[arg-type]
        log_every_n_steps=RECIPE["log_every_n_steps"],
        callbacks=[Clock(module.recorder)],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, _loader(spec))
    return module.recorder.figures()


def run_bare(spec: Spec) -> dict[str, Any]:
    """Train with the step function alone: what remains is Lightning's loop."""
    pl.seed_everything(RECIPE["seed"], verbose=False)
    module = _module(spec)
    module.configure_model()
    module.to(spec.device)
    optimizer = _optimizer([parameter for parameter in module.parameters() if parameter.requires_grad], spec.mode)
    mixed = spec.precision == "bf16"
    for number, batch in enumerate(_loader(spec)):
        moved = module.transfer_batch_to_device(batch, torch.device(spec.device), 0)
        with torch.autocast(spec.device, torch.bfloat16) if mixed else nullcontext():
            loss = module.training_step(moved, number)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        module.recorder.see_loss(loss)
        module.recorder.end_step()
    return module.recorder.figures()


def _module(spec: Spec) -> RecordedModule:
    of_pairs = DPO(beta=RECIPE["beta"])
    module = RecordedModule(
        spec.model,
        AllPairs(of_pairs) if SIDES[spec.side].lists else of_pairs,
        lora=LoRA(**LORA) if spec.mode == "lora" else None,
        optimizer=lambda parameters: _optimizer(parameters, spec.mode),
    )
    module.recorder = Recorder(spec.warmup)
    return module


def _optimizer(parameters: Any, mode: str) -> AdamW:
    return AdamW(parameters, lr=LEARNING_RATE[mode], weight_decay=RECIPE["weight_decay"], fused=True)


def _loader(spec: Spec) -> DataLoader[PreferenceBatch]:
    """The examples as they stand."""
    collate = collate_tree if SIDES[spec.side].layout == "tree" else collate_padded
    return DataLoader(
        spec.examples,  # type: ignore[arg-type]
        batch_size=spec.batch,
        shuffle=False,
        collate_fn=collate,
        pin_memory=spec.device == "cuda",
    )
