"""Memory and time that a fit will need, before its first step."""

from __future__ import annotations

from typing import NamedTuple, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from dpo_lightning.data.lengths import Lengths
from dpo_lightning.estimate import (
    Mesh,
    ModelShape,
    Numerics,
    State,
    Workload,
    device_memory,
    peak_flops,
    shape_of,
    step_flops,
)
from dpo_lightning.policy.recompute import Checkpointing
from dpo_lightning.run import PreferenceRun, reference_in_the_step
from dpo_lightning.utils.utilization import USUAL_UTILIZATION


class Cost(NamedTuple):
    """Needs of a device.

    Attributes:
        memory: Bytes at the peak, and those that the device has.
        step_seconds: Time of an optimizer step; None for a GPU, or a precision, whose figures are not known.
    """

    memory: tuple[float, float]
    step_seconds: float | None


def cost_of(
    trainer: pl.Trainer, run: PreferenceRun, lengths: Lengths, batches: list[np.ndarray], *, tree: bool
) -> Cost | None:
    """Return what the fit will need, before its first step; None on a CPU, and of a model that is no plain decoder.

    Args:
        trainer: The Trainer.
        run: The module.
        lengths: Tokens of each training example.
        batches: Indices of the examples of each batch of an epoch.
        tree: Whether the layout is the tree.
    """
    device = trainer.strategy.root_device
    shape = shape_of(run.policy) if device.type == "cuda" and batches else None
    if shape is None:
        return None
    setting = _Setting(shape, Numerics.of(str(trainer.precision)), state_of(trainer, run), _mesh(trainer))
    tokens = lengths.tokens
    largest = max(batches, key=lambda batch: int(tokens[batch].sum()))
    there = torch.cuda.get_device_properties(device).total_memory
    work = workload(lengths, np.concatenate(batches), tree=tree)
    usual = work._replace(pairs=max(work.pairs // len(batches), 1), accumulate=trainer.accumulate_grad_batches)
    peak = peak_of(trainer)
    return Cost(
        (setting.peak(workload(lengths, largest, tree=tree), torch.cuda.memory_allocated(device), there), float(there)),
        None if peak is None else setting.seconds(usual, peak, reference_forward=reference_in_the_step(run)),
    )


def peak_of(trainer: pl.Trainer) -> float | None:
    """Return the operations a second that a run's GPU could do in its precision; None on a CPU, and where not known."""
    device = trainer.strategy.root_device
    if device.type != "cuda":
        return None
    is_exact = torch.get_float32_matmul_precision() == "highest" and not torch.backends.cuda.matmul.allow_tf32
    return peak_flops(torch.cuda.get_device_name(device), str(trainer.precision), float32_is_exact=is_exact)


class _Setting(NamedTuple):
    shape: ModelShape
    numerics: Numerics
    state: State
    mesh: Mesh

    def peak(self, work: Workload, allocated: float, there: float) -> float:
        """Return the bytes at the peak, with the weights as they are allocated by now, not as formulas have them."""
        formulas = device_memory(self.shape, work, self.numerics, self.state, self.mesh, there)
        return formulas.total - formulas.policy - formulas.reference + allocated

    def seconds(self, work: Workload, peak: float, *, reference_forward: bool) -> float:
        """Return the time of an optimizer step, at the part of the GPU's peak that a run usually reaches."""
        flops = step_flops(self.shape, work, self.state, reference_forward=reference_forward, tensor=self.mesh.tensor)
        return flops / peak / USUAL_UTILIZATION


def state_of(trainer: pl.Trainer, run: PreferenceRun) -> State:
    """Return what will be kept beside the weights: a reference's are allocated by now."""
    return State(0, 0, kept_by(trainer.optimizers[0]), cast(Checkpointing, run.checkpointing))


def workload(lengths: Lengths, rows: np.ndarray, *, tree: bool) -> Workload:
    """Return a batch of equal examples that has the tokens of these rows."""
    chosen = lengths.of(rows)
    completions = max(int(chosen.sequences.max(initial=1)), 1)
    scored = chosen.completions.sum() + chosen.mismatched.sum()
    return Workload(
        len(rows),
        round(float(chosen.prompt.mean())),
        max(round(float(scored) / max(int(chosen.sequences.sum()), 1)), 1),
        tree,
        1,
        completions,
    )


def _mesh(trainer: pl.Trainer) -> Mesh:
    mesh = getattr(trainer.strategy, "device_mesh", None)
    if isinstance(trainer.strategy, ModelParallelStrategy) and mesh is not None:
        return Mesh(mesh["data_parallel"].size(), mesh["tensor_parallel"].size(), sharded=True)
    return Mesh(trainer.world_size)


def kept_by(optimizer: torch.optim.Optimizer) -> float:
    """Return the bytes that an optimizer is about to keep for each byte of a weight: Adam's two, if it has them not."""
    if optimizer.state:
        return 0.0
    group = optimizer.param_groups[0]
    return 2.0 if "betas" in group else float(bool(group.get("momentum")))
