"""The hooks of validation, test and prediction."""

from __future__ import annotations

import pytest
import torch

from dpo_lightning.batch import collate_padded
from dpo_lightning.errors import InputError
from tests.helpers.runs import module
from tests.helpers.tiny import PAIRS

BATCH = collate_padded(PAIRS)


@pytest.mark.parametrize("step", ["training_step", "validation_step", "test_step", "predict_step"])
def test_every_step_finds_its_batch_or_says_that_there_is_none(step):
    built = module()
    built.configure_model()
    getattr(built, step)({"pairs": BATCH, "other": torch.ones(3)}, 0)
    with pytest.raises(InputError, match=r"_step was given a dict of other without a preference batch"):
        getattr(built, step)({"other": torch.ones(3)}, 0)


def test_a_step_is_that_of_the_batch_itself():
    built = module()
    built.configure_model()
    assert torch.equal(built.training_step([BATCH], 0), built.training_step(BATCH, 0))
    assert built.eval_metrics.totals.sum() == 0
    built.validation_step(BATCH, 0)
    assert built.eval_metrics.compute()["loss"] == pytest.approx(built.training_step(BATCH, 0).item())
