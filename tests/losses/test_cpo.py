"""CPO and CPO-SimPO are other losses with a likelihood term."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import CPO, DPO, SFT, CPOSimPO, SimPO
from tests.losses.battery import some_scores


def test_without_its_likelihood_term_cpo_is_dpo_against_a_uniform_reference() -> None:
    scores = some_scores()
    uniform = scores._replace(reference_chosen_logps=torch.zeros(3), reference_rejected_logps=torch.zeros(3))

    assert torch.equal(CPO(beta=0.3, nll_weight=0.0)(scores), DPO(beta=0.3)(uniform))


def test_cpo_simpo_is_simpo_and_sft() -> None:
    scores = some_scores()
    joined = CPOSimPO(beta=3.0, gamma_beta_ratio=0.4, nll_weight=0.7)

    expected = SimPO(beta=3.0, gamma_beta_ratio=0.4)(scores) + 0.7 * SFT()(scores)
    torch.testing.assert_close(joined(scores), expected)


@pytest.mark.parametrize("objective", [CPO(), CPOSimPO()], ids=str)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_refuses_a_likelihood_that_is_pushed_down(objective: CPO | CPOSimPO, value: float) -> None:
    with pytest.raises(
        InputError, match=rf"^{type(objective).__name__}\.nll_weight must be a finite number of at least 0"
    ):
        replace(objective, nll_weight=value)
