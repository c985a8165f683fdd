"""Whole training runs of both sides from the same weights, on the same pairs in the same order: loss of each step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from datasets import Dataset
from torch import Tensor
from torch.optim import SGD

from dpo_lightning import FrozenCopy, Objective, PairScores, PreferenceBatch, PreferenceDataModule, PreferenceModule
from dpo_lightning.losses import Reads, UnpairedObjective
from tests.helpers.runs import Losses, trainer
from tests.parity.trl_side import Recording
from tests.parity.worlds import World

BATCH = 4
STEPS = 2


class Run(NamedTuple):
    """Loss of each step, and what the steps have added to the weights ``[parameters]``."""

    losses: list[float]
    update: Tensor


class Scene(NamedTuple):
    """A world whose rows are in the order of our batches, with the data that both sides read again and again."""

    world: World
    data: PreferenceDataModule
    first_batch: PreferenceBatch
    reference_dir: Path
    start: Tensor


def make_scene(world: World, directory: Path) -> Scene:
    """Tokenise, find out the order of the first epoch, and save the reference."""
    data = PreferenceDataModule(Dataset.from_list(world.rows), world.tokenizer(), batch_pairs=BATCH)
    data.setup()
    batches = list(data.train_dataloader())
    order = [pair for batch in batches for pair in batch.row_ids.tolist()]
    world.reference().save_pretrained(directory)
    ordered = world._replace(rows=[world.rows[pair] for pair in order])
    return Scene(ordered, data, batches[0], directory, flat(world.policy().state_dict()))


def fit(scene: Scene, objective: Objective) -> Run:
    """Ours: the module, the data module and Lightning's Trainer."""
    return fit_module(scene, make_module(scene, objective), scene.data)


def fit_module(scene: Scene, module: PreferenceModule, data: Any) -> Run:
    """Ours, from another data module, or from a loader."""
    recorder = Losses()
    _trainer(recorder).fit(module, data)
    return Run(recorder.losses, flat(module.policy.state_dict()) - scene.start)


def _trainer(*callbacks: pl.Callback) -> pl.Trainer:
    return trainer(max_steps=STEPS, precision="64-true", callbacks=list(callbacks))


def make_module(scene: Scene, objective: Objective | UnpairedObjective) -> PreferenceModule:
    """A policy that has left its reference already."""
    reference = FrozenCopy(str(scene.reference_dir)) if Reads.REFERENCE in objective.reads else None
    return PreferenceModule(
        scene.world.policy(),
        objective,
        reference,
        step_zero_check=False,
        optimizer=lambda params: SGD(params, lr=scene.world.lr),
    )


def first_scores(scene: Scene, objective: Objective) -> PairScores:
    """What the objective reads of the first batch, before any step, without a graph."""
    module = make_module(scene, objective)
    module.trainer = _trainer()
    module.configure_model()
    with torch.no_grad():
        return module.score(scene.first_batch)


def sgd(scene: Scene) -> dict[str, Any]:
    """The same optimizer and batches as settings of a TRL trainer."""
    return {
        "optim": "sgd",
        "learning_rate": scene.world.lr,
        "max_grad_norm": 0.0,
        "per_device_train_batch_size": BATCH,
        "max_steps": STEPS,
    }


def train(scene: Scene, theirs: Recording) -> Run:
    """TRL's."""
    theirs.train()
    return Run(theirs.losses, flat(theirs.model.state_dict()) - scene.start)


def flat(weights: Mapping[str, Tensor]) -> Tensor:
    """All of them in one vector, by name."""
    return torch.cat([weights[name].detach().flatten() for name in sorted(weights)])


def assert_runs_agree(ours: Run, theirs: Run, tolerance: float = 1e-6) -> None:
    """Losses within the tolerance, absolute below 1, relative above; updates within three times that of their norm."""
    assert len(ours.losses) == len(theirs.losses) == STEPS
    for step, (our_loss, their_loss) in enumerate(zip(ours.losses, theirs.losses, strict=True)):
        assert abs(our_loss - their_loss) <= tolerance * max(1.0, abs(their_loss)), f"step {step}"
    moved = theirs.update.norm()
    assert moved > 1e-4, "the weights must move, or this proves nothing"
    assert (ours.update - theirs.update).norm() <= 3 * tolerance * moved, "weights"
