"""The catalogue has every objective, by names of their own."""

from __future__ import annotations

import inspect

from benchmarks.frontier.catalogue import CATALOGUE, FAMILIES, SWEEPS
from dpo_lightning import callbacks, losses
from dpo_lightning.callbacks.moving_reference import MovingReference
from dpo_lightning.losses import (
    AnyObjective,
    BetaObjective,
    ChosenObjective,
    ListObjective,
    MarginObjective,
    Objective,
    UnpairedObjective,
)

KINDS = (
    *(AnyObjective, Objective, BetaObjective, ChosenObjective, MarginObjective, UnpairedObjective, ListObjective),
    MovingReference,
)


def exported(module) -> list[type]:
    every = [getattr(module, name) for name in module.__all__]
    return [each for each in every if inspect.isclass(each) and issubclass(each, KINDS) and each not in KINDS]


def test_every_objective_is_trained():
    trained = " ".join(f"{entry.settings()['objective']} {entry.settings()['callback']}" for entry in CATALOGUE)
    for kind in (*exported(losses), *exported(callbacks)):
        assert f"{kind.__name__}(" in trained or f"{kind.__name__}'" in trained, f"{kind.__name__} has no entry"


def test_equal_settings_are_there_once():
    settings = [str(entry.settings()) for entry in CATALOGUE]
    assert len(set(settings)) == len(settings)


def test_names_are_the_entries_own_and_families_are_known():
    names = [entry.name for entry in CATALOGUE]
    assert len(set(names)) == len(names)
    assert {entry.family for entry in CATALOGUE} == set(FAMILIES)


def test_a_sweep_goes_through_its_entry():
    for name, sweep in SWEEPS.items():
        (entry,) = [entry for entry in CATALOGUE if entry.name == name]
        assert entry.settings() in [point.settings() for point in sweep]
