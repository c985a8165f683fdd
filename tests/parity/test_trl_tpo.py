"""Training steps of TPOTrainer of TRL 1.16.0 and of ours, on the same triples: losses and weights agree to 1e-6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.losses import TPO
from tests.parity.steps import BATCH, Scene, assert_runs_agree, fit_module, make_module, sgd, train
from tests.parity.trl_side import make_tpo_trainer, triples, triples_as_lists

CASES = [
    ({"beta": 0.5, "tpo_alpha": 0.0}, TPO(beta=0.5, nll_weight=0.0)),
    ({"beta": 0.5, "tpo_alpha": 0.7}, TPO(beta=0.5, nll_weight=0.7)),
    (
        {"loss_type": "tpo-l", "beta": 2.0, "tpo_alpha": 0.7, "tpo_l_gamma": 0.5},
        TPO(beta=2.0, nll_weight=0.7, gamma=0.5, length_normalized=True),
    ),
]


@pytest.mark.parametrize(("settings", "objective"), CASES, ids=lambda each: str(each)[:40])
def test_steps_agree(scene: Scene, settings: dict[str, Any], objective: TPO, tmp_path: Path) -> None:
    """Of gold completions of one length, where TRL's mean over the tokens of the batch is a mean over prompts."""
    trainer = make_tpo_trainer(scene.world, tmp_path, triples(scene.world, gold=(3,)), **settings, **sgd(scene))
    loader = triples_as_lists(trainer.train_dataset, BATCH)
    theirs = train(scene, trainer)
    assert_runs_agree(fit_module(scene, make_module(scene, objective), loader), theirs)
