"""Fields of transformers that a step depends on, against the class as installed."""

from __future__ import annotations

import dataclasses

from transformers import TrainingArguments

from dpo_lightning.cli.ways_over.training_fields import DEVICES, LOADING, STEP, with_defaults


def test_they_are_fields_of_transformers() -> None:
    there = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert {each.name for each in (*STEP, *LOADING, *DEVICES)} <= there


def test_a_tool_may_have_other_defaults() -> None:
    found = {each.name: each.default for each in with_defaults(STEP, {"learning_rate": 5e-5})}
    assert (found["learning_rate"], found["seed"]) == (5e-5, 42)
