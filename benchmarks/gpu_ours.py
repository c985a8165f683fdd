"""Our sides of `gpu.py`: `Trainer.fit` with one part or another switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning.pytorch as pl
import torch
from torch.optim import AdamW
from torch.utils.data import DataLoader

from benchmarks.compare_models import draw_adapters, fuse_by_liger, random_model
from benchmarks.compare_sides import LEARNING_RATE, LORA, RECIPE
from benchmarks.gpu_job import Job
from benchmarks.gpu_rows import MAX_LENGTH, PRECISION, SIDES, GpuSide
from benchmarks.gpu_timing import DeviceRecorder
from benchmarks.side_ours import Clock, RecordedModule
from dpo_lightning import DPO, FlashAttention3, LoRA, Precomputed, PreferenceBatch
from dpo_lightning.callbacks import UpdateGuard
from dpo_lightning.data import collate_padded, collate_tree
from dpo_lightning.logprobs.kernels import choice
from dpo_lightning.logprobs.kernels.plain import PLAIN
from dpo_lightning.reference.cache import scored_model

DTYPES = {"bf16-mixed": torch.float32, "bf16-true": torch.bfloat16}


class GpuModule(RecordedModule):
    """Has the adapters of the other sides, and the guard only where it is asked for."""

    guarded: bool = True

    def configure_model(self) -> None:
        """Draw the adapters anew."""
        super().configure_model()
        draw_adapters(self.policy)

    def configure_callbacks(self) -> list[pl.Callback]:
        """Leave the guard out."""
        return [each for each in super().configure_callbacks() if self.guarded or not isinstance(each, UpdateGuard)]


class GpuClock(Clock):
    """Shows the first gradients, too."""

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Take their norm, of the first step only."""
        self.recorder.see_gradients(pl_module.parameters())  # type: ignore[attr-defined]


def train(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Train warm-up steps, the measured ones and one that is profiled; return the figures."""
    side, mode = SIDES[settings["side"]], settings["mode"]
    pl.seed_everything(RECIPE["seed"], verbose=False)
    examples = job.examples(settings)
    recorder = DeviceRecorder(job.warmup, job.steps, job.device)
    with head_of(side), _weights_unread():
        module = _module(job, settings, side)
        module.recorder, module.guarded = recorder, side.guarded
        trainer = pl.Trainer(
            max_steps=recorder.all_steps,
            accelerator="gpu" if job.device == "cuda" else "cpu",
            devices=1,
            precision=PRECISION[mode],  # type: ignore[arg-type]
            log_every_n_steps=RECIPE["log_every_n_steps"],
            callbacks=[GpuClock(recorder), *([FlashAttention3()] if side.flash == "fa3" else [])],
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, _loader(job, settings, side, module, examples))
    return recorder.figures()


def _module(job: Job, settings: dict[str, Any], side: GpuSide) -> GpuModule:
    mode = settings["mode"]
    cache = Path(job.scratch) / "reference" / settings["profile"]
    rate = LEARNING_RATE[mode]
    policy = random_model(settings["model"], MAX_LENGTH, job.device, DTYPES[PRECISION[mode]])
    if side.liger:
        fuse_by_liger(policy, job.device)
    return GpuModule(
        policy,
        DPO(beta=RECIPE["beta"]),
        Precomputed(str(cache)) if side.stored else None,
        lora=LoRA(**LORA) if mode == "lora" else None,
        optimizer=lambda parameters: AdamW(
            parameters, rate, weight_decay=0.0, fused=not side.foreach, foreach=side.foreach
        ),
        fused_layers=side.layers,
    )


def head_of(side: GpuSide) -> AbstractContextManager[Any]:
    """A context in which the head is the one that the side asks for."""
    return nullcontext() if side.head is None else torch_head()


@contextmanager
def _weights_unread() -> Iterator[None]:
    """Leave out the hash of all weights by which a cache of the reference is found, as of TRL's: it is a fresh one."""
    with (
        patch.object(scored_model, "weights_hash", _nothing),
        patch.object(scored_model, "agreed_weights_hash", _nothing),
    ):
        yield


def _nothing(*_: Any, **__: Any) -> str:
    return "not read"


def torch_head() -> AbstractContextManager[Any]:
    """A context in which the head is PyTorch's on every device."""
    return patch.object(choice, "head_kernel", lambda *_: PLAIN)


def _loader(
    job: Job, settings: dict[str, Any], side: GpuSide, module: GpuModule, examples: list[Any]
) -> DataLoader[PreferenceBatch]:
    collate = collate_tree if side.layout == "tree" else collate_padded
    # A reference that is computed before is scored after Lightning has started the workers.
    workers = 2 if job.device == "cuda" and not side.stored else 0
    return DataLoader(
        examples,  # type: ignore[arg-type]
        batch_size=settings["pairs"],
        shuffle=False,
        collate_fn=module.with_reference(collate, examples) if side.stored else collate,
        pin_memory=job.device == "cuda",
        num_workers=workers,
    )
