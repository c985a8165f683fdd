"""The table of TRL's fields holds all that the installed classes have, with their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from trl import DatasetMixtureConfig, DPOConfig, ModelConfig, ScriptArguments
from trl.scripts.utils import DatasetConfig

from dpo_lightning.cli.ways_over.fields import Fate, Field, Kind
from dpo_lightning.cli.ways_over.trl.fields import CLASSES, EARLIER, FIELDS

INSTALLED: dict[str, Any] = {
    kind.__name__: kind for kind in (DPOConfig, ModelConfig, ScriptArguments, DatasetMixtureConfig, DatasetConfig)
}
ALL = [field for fields in CLASSES.values() for field in fields]
KINDS = {
    Kind.NUMBER: ("float", "int"),
    Kind.WHOLE: ("int",),
    Kind.TRUTH: ("bool",),
    Kind.WORD: ("str",),
    Kind.WORDS: ("list", "str"),
    Kind.NUMBERS: ("list",),
    Kind.MAPPING: ("dict",),
    Kind.ANY: ("",),
}


def installed() -> Iterator[tuple[str, Any]]:
    for name, kind in INSTALLED.items():
        for field in dataclasses.fields(kind):
            yield name, field


def default_of(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def ours(name: str) -> dict[str, Field]:
    return {each.name: each for each in CLASSES[name]}


def test_all_174_fields_are_in_the_table() -> None:
    there = {(name, field.name) for name, field in installed()}
    here = {(name, field.name) for name, fields in CLASSES.items() for field in fields}
    assert there == here
    assert len(there) == len(ALL) == 174


@pytest.mark.parametrize(("name", "field"), [*installed()], ids=lambda each: getattr(each, "name", each))
def test_a_field_has_the_default_and_the_kind_of_there(name: str, field: Any) -> None:
    found, default = ours(name)[field.name], default_of(field)
    assert found.default == default
    assert isinstance(found.default, bool) == isinstance(default, bool)
    assert any(kind in str(field.type) for kind in KINDS[found.kind])


@pytest.mark.parametrize("field", [*ALL, *EARLIER], ids=lambda field: field.name)
def test_a_field_says_where_it_goes_or_why_not(field: Field) -> None:
    assert field.here or field.said
    assert field.said or field.fate is Fate.SAME
    if field.direct:
        assert field.here.count(".") == 1


def test_earlier_fields_are_none_of_now() -> None:
    assert {each.name for each in EARLIER}.isdisjoint(each.name for each in ALL)
    assert len(FIELDS) == 174 - 7 + len(EARLIER)
