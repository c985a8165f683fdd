"""The base of the objectives whose reward is beta x log-ratio."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses import BetaObjective, Objective, Reads
from dpo_lightning.losses.scores import PairScores
from tests.losses.battery import some_scores


@dataclass(frozen=True)
class Own(BetaObjective):
    """Needs nothing but a beta and a loss."""

    beta: float = 0.25

    def __call__(self, scores: PairScores) -> Tensor:
        return -self.beta * scores.chosen_logratio


def test_the_reward_is_beta_times_the_logratio() -> None:
    scores = some_scores()
    chosen, rejected = Own().rewards(scores)

    assert torch.equal(chosen, 0.25 * (scores.policy_chosen_logps - scores.reference_chosen_logps))
    assert torch.equal(rejected, 0.25 * (scores.policy_rejected_logps - scores.reference_rejected_logps))


def test_it_reads_the_reference_and_its_settings_are_its_own() -> None:
    assert Own().reads == Reads.REFERENCE
    assert [(field.name, field.default) for field in fields(Own)] == [("beta", 0.25)]


def test_beta_is_checked_under_the_name_of_the_class() -> None:
    with pytest.raises(InputError, match=r"^Own\.beta must be a finite number greater than 0, got 0\.0$"):
        Own(beta=0.0)


def test_a_config_is_checked_against_the_types_of_a_subclass_in_another_file() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Objective, "objective")
    own = f"{__name__}.Own"

    parsed = parser.parse_args([f"--objective={own}", "--objective.beta=2"])
    assert parser.instantiate_classes(parsed).objective == Own(beta=2.0)
    assert isinstance(parsed.objective.init_args.beta, float)
    with pytest.raises(ArgumentError, match="float"):
        parser.parse_args([f"--objective={own}", "--objective.beta=much"])
    with pytest.raises(ArgumentError, match="gamma"):
        parser.parse_args([f"--objective={own}", "--objective.gamma=1"])


def test_the_loss_is_left_to_the_subclass() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BetaObjective()  # type: ignore[abstract]
