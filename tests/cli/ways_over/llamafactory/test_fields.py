"""Every field of LLaMA-Factory's arguments has a fate, and every fate is one that a reader can act on."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from transformers import Seq2SeqTrainingArguments

from dpo_lightning.cli.ways_over.fields import Fate
from dpo_lightning.cli.ways_over.llamafactory.fields import FIELDS, OF_SEQ2SEQ, OF_TRAINER

NAMES = {*(Path(__file__).parent / "names.txt").read_text().split()}


def test_the_fields_are_those_of_its_arguments_and_of_the_trainers() -> None:
    assert len(NAMES) == 233
    of_trainer = {each.name for each in (*OF_TRAINER, *OF_SEQ2SEQ)}
    assert FIELDS.keys() == NAMES | of_trainer
    installed = {each.name for each in fields(Seq2SeqTrainingArguments) if each.init}
    assert installed <= FIELDS.keys()


def test_each_fate_says_what_it_must() -> None:
    for name, each in FIELDS.items():
        if each.fate is Fate.SAME:
            assert each.here, name
        elif name in NAMES:
            assert each.said, name
