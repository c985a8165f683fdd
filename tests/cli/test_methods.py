"""Objectives by the names that people type."""

from __future__ import annotations

import pytest

from dpo_lightning import AnyObjective
from dpo_lightning.cli.class_names import fitting_names
from dpo_lightning.cli.methods import Method, learning_rate, method_named
from dpo_lightning.errors import InputError
from dpo_lightning.losses.compares import Compares
from dpo_lightning.training.usual_rates import usual_rates


@pytest.mark.parametrize(
    ("typed", "method"),
    [
        ("dpo", Method("DPO", {})),
        ("SIMPO", Method("SimPO", {})),
        ("bco_pair", Method("PairedBCO", {})),
        ("ipo", Method("IPO", {"per_token": True})),
        ("IPO", Method("IPO", {"per_token": True})),
        ("plackettlucedpo", Method("PlackettLuceDPO", {})),
    ],
)
def test_a_name_in_any_case_or_of_trl(typed: str, method: Method) -> None:
    assert method_named(typed) == method


@pytest.mark.parametrize("name", ["nonsense!", "AnyModifier", "RowWeighted", "LoRA"])
def test_what_is_no_method_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^init --method: "):
        method_named(name)


def test_a_method_says_what_it_reads() -> None:
    assert method_named("kto").read.compares is Compares.LABELLED


@pytest.mark.parametrize("adapters", [False, True], ids=["all weights", "adapters"])
@pytest.mark.parametrize("size", [1e5, 1.3e7, 5e8, 1e9, 7e9, 7e10])
def test_every_rate_is_a_usual_one(size: float, adapters: bool) -> None:
    for name in fitting_names(AnyObjective):
        usual = usual_rates(name, adapted=adapters, parameters=int(size))
        assert usual.least <= learning_rate(name, size, adapters=adapters) <= usual.greatest


def test_rates_fall_with_size_and_rise_for_adapters() -> None:
    rates = [learning_rate("DPO", size, adapters=False) for size in (1e6, 1e8, 1e9, 7e9)]
    assert rates == sorted(rates, reverse=True)
    assert learning_rate("DPO", 7e9, adapters=False) == 5e-7
    assert learning_rate("DPO", 7e9, adapters=True) == 1e-5  # the least that is usual for adapters
    assert learning_rate("SFT", 7e9, adapters=False) == 1e-5
