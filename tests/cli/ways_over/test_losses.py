"""Losses of other trainers are objectives of ours."""

from __future__ import annotations

import dataclasses

import pytest

import dpo_lightning
from dpo_lightning.cli.ways_over.losses import LOSSES, PAIRED
from tests.parity.grid import LOSSES as SAME_AS_TRL


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_reads_what_its_class_has(name: str) -> None:
    loss = LOSSES[name]
    arguments = {field.name for field in dataclasses.fields(getattr(dpo_lightning, loss.name))}
    assert {ours for _, ours in loss.reads} | {ours for ours, _ in loss.settings} <= arguments


def test_the_paired_ones_are_those_of_trl() -> None:
    assert PAIRED.keys() == SAME_AS_TRL.keys()


def test_a_loss_is_said_as_a_person_writes_it() -> None:
    assert [str(LOSSES[name]) for name in ("ipo", "sigmoid")] == ["IPO with per_token: true", "DPO"]
