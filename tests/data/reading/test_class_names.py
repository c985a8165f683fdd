"""Columns of classes."""

from __future__ import annotations

from datasets import ClassLabel, Dataset, Features, Value

from dpo_lightning.data.reading.class_names import with_class_names


def test_numbers_of_classes_become_their_names():
    features = Features(prompt=Value("string"), label=ClassLabel(names=["desirable", "undesirable"]))
    rows = Dataset.from_dict({"prompt": ["a", "b", "c"], "label": [0, 1, None]}, features=features)

    named = with_class_names(rows)
    assert named["label"][:] == ["desirable", "undesirable", None]
    assert named["prompt"][:] == ["a", "b", "c"]


def test_rows_without_classes_stay():
    rows = Dataset.from_dict({"label": [0, 1]})
    assert with_class_names(rows) is rows
