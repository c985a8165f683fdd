"""Training steps of DPOTrainer of TRL 1.16.0 and of ours, for all that it accepts: losses and weights agree to 1e-6.

The model is in float64, but TRL computes log-probs and their sums in float32, and its gradients of the head: that is
what the tolerance is for.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.losses import DPO, RPO, SFT, WPO
from dpo_lightning.losses.scores import Baseline
from tests.parity.grid import BETA, FLIPPED, SHARED_SETTINGS, Case, all_settings, cases, is_refused, mixture
from tests.parity.steps import Scene, assert_runs_agree, first_scores, fit, sgd, train
from tests.parity.trl_side import RecordingTrainer, make_trainer

CASES = cases()
MIXTURES = [
    mixture(("sigmoid", "bco_pair"), (0.8, 0.2), None, False),
    mixture(("apo_zero", "hinge", "nca_pair"), (0.3, 1.5, 0.7), 0.4, False),
    mixture(("robust", "ipo"), (1.0, 0.5), None, True),
    mixture(("sppo_hard", "exo_pair"), (0.1, 2.0), 0.4, True),
]
# SFT's mean over pairs is TRL's over tokens where the chosen completions are of one length.
WITH_LIKELIHOOD = [
    Case({"loss_type": "sft"}, SFT()),
    Case({"loss_type": ["sft", "sigmoid"], "loss_weights": [0.7, 1.0]}, RPO(BETA, alpha=0.7)),
    mixture(("sigmoid", "bco_pair", "sft"), (0.8, 0.2, 1.0), None, False),
]


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES + MIXTURES, ids=by_name)
def test_steps_agree(case: Case, scene: Scene, tmp_path: Path) -> None:
    theirs = train(scene, _trainer(scene, tmp_path, case.settings))
    assert_runs_agree(fit(scene, case.objective), theirs)


@pytest.mark.parametrize("case", WITH_LIKELIHOOD, ids=by_name)
def test_steps_with_the_likelihood_agree_where_lengths_are_equal(case: Case, even_scene: Scene, tmp_path: Path) -> None:
    theirs = train(even_scene, _trainer(even_scene, tmp_path, case.settings))
    assert_runs_agree(fit(even_scene, case.objective), theirs)


def test_every_objective_is_another_one(scene: Scene) -> None:
    """What agrees with the wrong loss would show: some pair's losses are further apart than the tolerance."""
    scores = first_scores(scene, WPO(DPO()))
    zero = scores.policy_chosen_logps.new_zeros(())
    scores = scores._replace(baseline=Baseline(zero, zero))
    smoothed = Case({"loss_type": "what aot is without sorting"}, DPO(BETA, FLIPPED))
    losses = {case.name: case.objective(scores) for case in [*CASES, *MIXTURES, smoothed]}
    apart = {(a, b): (losses[a] - losses[b]).abs().max().item() for a, b in combinations(losses, 2)}
    closest = min(apart, key=apart.__getitem__)
    assert apart[closest] > 1e-4, closest


def test_the_grid_is_what_trl_accepts_but_for_the_deviations(scene: Scene, tmp_path: Path) -> None:
    options = list(all_settings())
    refused = [settings for settings in options if is_refused(settings)]
    policy, reference = scene.world.policy(), scene.world.reference()
    unused = scene._replace(world=scene.world._replace(policy=lambda: policy, reference=lambda: reference))
    for settings in refused:
        with pytest.raises((ValueError, NotImplementedError), match=r"f_divergence_type|WPO-style weighting"):
            _trainer(unused, tmp_path, settings)
    hinge_with_weights, of_sft = 8, 16
    assert len(options) == 15 * 4 * 2 * 2
    assert len(CASES) == len(options) - len(refused) - hinge_with_weights - of_sft == 128


def _trainer(scene: Scene, directory: Path, settings: dict[str, Any]) -> RecordingTrainer:
    return make_trainer(scene.world, directory, **SHARED_SETTINGS, **sgd(scene), **settings)
