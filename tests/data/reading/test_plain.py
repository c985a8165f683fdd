"""Values of datasets are what they stand for."""

from __future__ import annotations

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Json, List, Value

from dpo_lightning.compat.datasets import fingerprint, json_text
from dpo_lightning.data.reading.plain import meant, plain_block, plain_rows
from dpo_lightning.errors import InputError

LABEL = ClassLabel(names=["bad", "good"])
ROWS = [{"text": "a", "label": 1, "deep": [{"label": 0}]}, {"text": "b", "label": None, "deep": []}]


def dataset(names: tuple[str, ...] = ("bad", "good")) -> Dataset:
    label = ClassLabel(names=list(names))
    features = Features({"text": Value("string"), "label": label, "deep": List({"label": label})})
    return Dataset.from_list(ROWS, features=features)


def test_classes_of_a_dataset_have_their_names() -> None:
    assert [*plain_rows(dataset())] == [
        {"text": "a", "label": "good", "deep": [{"label": "bad"}]},
        {"text": "b", "label": None, "deep": []},
    ]


def test_other_names_are_other_rows_in_the_cache() -> None:
    assert fingerprint(plain_rows(dataset())) == fingerprint(plain_rows(dataset()))
    assert fingerprint(plain_rows(dataset())) != fingerprint(plain_rows(dataset(("good", "bad"))))


def test_a_dataset_of_plain_columns_stays_as_it_is() -> None:
    rows = Dataset.from_list([{"a": "x", "b": 1, "c": [{"d": None}]}])
    assert plain_rows(rows) is rows


def test_the_classes_of_a_card_name_numbers_and_texts_of_numbers() -> None:
    card = {"text": LABEL, "label": LABEL, "gone": LABEL}
    rows = Dataset.from_list([{"text": "0", "label": 1}, {"text": "good", "label": -1}, {"text": "-1", "label": None}])
    assert [*plain_rows(rows, card)] == [
        {"text": "bad", "label": "good"},
        {"text": "good", "label": None},
        {"text": None, "label": None},
    ]


@pytest.mark.parametrize("value", [2, "2", "goood", ""])
def test_a_value_that_is_none_of_the_classes_is_named(value: object) -> None:
    with pytest.raises(InputError, match=f"column `label`: {value!r} is none of its 2 classes, which are bad, good"):
        plain_rows(Dataset.from_list([{"label": value}]), {"label": LABEL})


@pytest.mark.parametrize(
    ("value", "feature", "expected"),
    [
        ('{"a": [0.1]}', Json(), {"a": [0.1]}),
        ("[0.12345678901234567]", json_text(), [0.12345678901234567]),
        ([1, None], List(LABEL), ["good", None]),
        ([[0]], [[LABEL]], [["bad"]]),
        ({"a": -1, "b": 3}, {"a": LABEL, "b": Value("int64")}, {"a": None, "b": 3}),
        ([("k", 1)], None, [("k", 1)]),
    ],
)
def test_what_a_value_stands_for(value: object, feature: object, expected: object) -> None:
    assert meant(value, feature) == expected


def test_types_that_datasets_does_not_have_are_kept_as_json() -> None:
    block = plain_block(pa.table({"a": pa.array([[("k", 0.1)]], pa.map_("string", "float64"))}), {})
    assert block.features == {"a": json_text()}
    assert block.table.to_pylist() == [{"a": '{"k":0.1}'}]
