"""Regression on quantiles of rewards."""

from __future__ import annotations

import math
from typing import Any

import jaxtyping
import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import QRPO, Reads, qrpo
from dpo_lightning.losses.qrpo import quantiles_in_list
from tests.losses.listed import RAGGED, scores_of


@pytest.mark.parametrize("beta", [0.05, 0.5, 3.0])
def test_the_partition_function_is_the_integral(beta: float) -> None:
    """At the optimum of its own reward the loss is 0: rho = q / beta - log Z, with Z from a sum of many steps."""
    steps = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    log_z = (steps / beta).exp().mean().log()
    quantile = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    losses = qrpo(quantile / beta - log_z, quantile, beta=beta)
    assert losses.tolist() == pytest.approx([0.0] * 3, abs=1e-12)


def test_values_by_hand() -> None:
    # beta 1: log Z = log(e - 1). q 0.75, rho 0.5.
    losses = qrpo(torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.75], dtype=torch.float64), beta=1.0)
    assert losses.item() == pytest.approx((0.75 - math.log(math.e - 1) - 0.5) ** 2, rel=1e-12)


@pytest.mark.parametrize("beta", [1e-4, 1e-3])
def test_a_small_beta_does_not_overflow(beta: float) -> None:
    """There log Z is log beta + 1 / beta, as the paper simplifies it."""
    normalizer = beta * (math.log(beta) + 1 / beta)
    assert qrpo(torch.zeros(1), torch.ones(1), beta=beta).item() == pytest.approx((1 - normalizer) ** 2, rel=1e-3)


def test_quantiles_of_a_list_are_shares_of_it() -> None:
    lists = scores_of(*RAGGED)
    found = quantiles_in_list(lists.columns["score"], lists.example_of_completion)
    by_list = [found[lists.example_of_completion == n].tolist() for n in range(3)]
    assert by_list == [[1.0, 0.5, 0.75, 0.25], [0.5, 1.0], [1.0, 1.0, pytest.approx(1 / 3)]]


def test_each_list_counts_alike_and_the_quantiles_may_be_given() -> None:
    lists = scores_of(*RAGGED, quantile=[0.1, 0.9, 0.4, 0.7, 0.2, 0.6, 0.3, 0.5, 0.8])
    losses = qrpo(lists.logratio, lists.columns["quantile"], beta=0.5)
    expected = [losses[lists.example_of_completion == n].mean().item() for n in range(3)]
    assert QRPO(beta=0.5, quantiles="column")(lists).tolist() == pytest.approx(expected, rel=1e-12)
    assert QRPO(quantiles="column").reads == Reads.REFERENCE | Reads.QUANTILE
    assert QRPO().reads_columns == {"score"}
    assert QRPO(beta=0.5).rewards(lists).tolist() == (0.5 * lists.logratio).tolist()


@pytest.mark.parametrize("settings", [{"beta": 0.0}, {"quantiles": "batch"}, {"quantiles": True}])
def test_settings_are_checked(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match=rf"QRPO\.{next(iter(settings))} must be"):
        QRPO(**settings)
