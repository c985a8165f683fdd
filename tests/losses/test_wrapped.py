"""Objectives that may stand inside another one."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning import DPO, KTO, SFT, AOTPaired
from dpo_lightning.errors import InputError
from dpo_lightning.losses.scores import ChosenScores
from dpo_lightning.losses.wrapped import loss_of, require_objective, require_own_losses


@pytest.mark.parametrize(("given", "named"), [(KTO(), "KTO"), (DPO, "ABCMeta"), (None, "NoneType")])
def test_what_is_no_objective_of_pairs_is_refused(given: object, named: str) -> None:
    with pytest.raises(InputError, match=f"Outer\\.inner must be an objective of pairs, such as DPO, got {named}"):
        require_objective("Outer.inner", given)


def test_a_loss_of_the_whole_batch_has_no_weights() -> None:
    require_own_losses("Outer.inner", DPO())
    with pytest.raises(InputError, match="that of AOTPaired is one of the whole batch"):
        require_own_losses("Outer.inner", AOTPaired())


def test_the_loss_is_that_of_the_scores_given() -> None:
    scores = ChosenScores(torch.tensor([-3.0]), torch.zeros(1), torch.tensor([6]))

    assert loss_of(SFT(), scores) == SFT()(scores) == 0.5  # 3 nats over 6 tokens
