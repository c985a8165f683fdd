"""Training steps of the trainers without a reference of TRL 1.16.0 and of ours: losses and weights agree to 1e-6.

Their models return float64 logits, so that only ORPO's odds are in float32.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.losses import CPO, ORPO, AlphaPO, CPOSimPO, SimPO
from tests.parity.grid import Case
from tests.parity.steps import Scene, assert_runs_agree, fit, sgd, train
from tests.parity.trl_side import make_cpo_trainer, make_orpo_trainer

SIMPO = {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.5, "cpo_alpha": 0.0}
PREFERENCE_ONLY = [
    Case(SIMPO, SimPO(beta=2.0, gamma_beta_ratio=0.25)),
    Case({**SIMPO, "loss_type": "alphapo", "alpha": 0.3}, AlphaPO(beta=2.0, alpha=0.3, gamma_beta_ratio=0.25)),
    Case({**SIMPO, "loss_type": "alphapo", "alpha": -0.3}, AlphaPO(beta=2.0, alpha=-0.3, gamma_beta_ratio=0.25)),
    Case({"loss_type": "sigmoid", "beta": 0.3, "cpo_alpha": 0.0}, CPO(beta=0.3, nll_weight=0.0)),
]
WITH_LIKELIHOOD = [
    Case({"loss_type": "sigmoid", "beta": 0.3, "cpo_alpha": 0.7}, CPO(beta=0.3, nll_weight=0.7, nll_per_token=True)),
    Case({**SIMPO, "cpo_alpha": 0.7}, CPOSimPO(beta=2.0, gamma_beta_ratio=0.25, nll_weight=0.7)),
]


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", PREFERENCE_ONLY, ids=by_name)
def test_steps_agree(case: Case, scene: Scene, tmp_path: Path) -> None:
    theirs = train(scene, make_cpo_trainer(scene.world, tmp_path, **sgd(scene), **case.settings))
    assert_runs_agree(fit(scene, case.objective), theirs)


@pytest.mark.parametrize("case", WITH_LIKELIHOOD, ids=by_name)
def test_steps_with_the_likelihood_agree_where_lengths_are_equal(case: Case, even_scene: Scene, tmp_path: Path) -> None:
    theirs = train(even_scene, make_cpo_trainer(even_scene.world, tmp_path, **sgd(even_scene), **case.settings))
    assert_runs_agree(fit(even_scene, case.objective), theirs)


def test_orpo_agrees_where_lengths_are_equal_and_prompts_are_one_token(even_scene: Scene, tmp_path: Path) -> None:
    theirs = train(even_scene, make_orpo_trainer(even_scene.world, tmp_path, beta=0.4, **sgd(even_scene)))
    assert_runs_agree(fit(even_scene, ORPO(odds_weight=0.4)), theirs)
