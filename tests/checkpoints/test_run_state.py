"""What a checkpoint holds of a run beside the trained weights."""

from __future__ import annotations

import torch
from torch import nn

from dpo_lightning import BetaDPO, Observation, PairedBCO
from dpo_lightning.checkpoints.run_state import add_run_state, restore_run_state
from tests.helpers.runs import module


def test_a_policy_without_a_config_is_saved_without_one() -> None:
    model = module()
    model.configure_model()
    model.policy_source._config = None
    model.policy = nn.Linear(2, 2)
    checkpoint: dict[str, object] = {}
    add_run_state(model, checkpoint)
    assert checkpoint == {}


def test_a_running_mean_is_not_that_of_another_objective() -> None:
    trained, other = module(objective=PairedBCO()), module(objective=BetaDPO())
    checkpoint: dict[str, object] = {}
    for each in (trained, other):
        each.configure_model()
    trained.running_mean.baseline(Observation(torch.tensor([3.0]), 0.9), moves=True)
    add_run_state(trained, checkpoint)

    restore_run_state(other, checkpoint)
    again = module(objective=PairedBCO())
    again.configure_model()
    restore_run_state(again, checkpoint)

    assert other.running_mean.seen.sum() == 0
    assert again.running_mean.means[0] == 3
