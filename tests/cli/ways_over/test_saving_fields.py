"""Fields of transformers on what a run writes and measures, against the class as installed."""

from __future__ import annotations

import dataclasses

from transformers import TrainingArguments

from dpo_lightning.cli.ways_over.saving_fields import EVALUATING, HUB, LOGGING, SAVING


def test_they_are_fields_of_transformers() -> None:
    there = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert {each.name for each in (*LOGGING, *EVALUATING, *SAVING, *HUB)} <= there
