"""Values of fields: read as the other tool reads them, or refused with the place."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.cli.ways_over.fields import Fate, Field, Kind, by_name, idle, key, refused, together
from dpo_lightning.errors import InputError


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (Kind.NUMBER, "1e-6", 1e-6),  # a text in YAML 1.1
        (Kind.NUMBER, 3, 3),
        (Kind.WHOLE, 4.0, 4),
        (Kind.WHOLE, "12", 12),
        (Kind.TRUTH, "Yes", True),
        (Kind.TRUTH, False, False),
        (Kind.WORD, 8, "8"),
        (Kind.WORDS, "sigmoid", ["sigmoid"]),
        (Kind.NUMBERS, [1, "0.5"], [1, 0.5]),
        (Kind.MAPPING, '{"a": 1}', {"a": 1}),
        (Kind.ANY, [1], [1]),
    ],
)
def test_a_value_is_read_as_it_is_meant(kind: Kind, value: Any, read: Any) -> None:
    found = Field("name", kind).read(value, "c.yaml")
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.NUMBER, True),
        (Kind.NUMBER, "fast"),
        (Kind.WHOLE, 1.5),
        (Kind.TRUTH, "perhaps"),
        (Kind.TRUTH, 1),
        (Kind.WORD, ["a"]),
        (Kind.WORDS, [["a"]]),
        (Kind.NUMBERS, ["a"]),
        (Kind.MAPPING, "[1]"),
        (Kind.MAPPING, 3),
    ],
)
def test_a_value_of_another_kind_is_refused(kind: Kind, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^c.yaml: name must be {kind.value}, got "):
        Field("name", kind).read(value, "c.yaml")


def test_words_are_those_of_the_field_and_no_is_one() -> None:
    field = Field("when", Kind.WORD, "steps", choices=("no", "steps"))
    assert field.read(False, "c.yaml") == "no"  # YAML's reading of `no`
    with pytest.raises(InputError, match=r"c.yaml: when: often is none of no, steps"):
        field.read("often", "c.yaml")


def test_null_is_for_fields_that_have_it() -> None:
    assert Field("name", Kind.WHOLE).read(None, "c.yaml") is None
    assert Field("name", Kind.WHOLE, 3, null=True).read(None, "c.yaml") is None
    with pytest.raises(InputError, match=r"name is null: write a whole number"):
        Field("name", Kind.WHOLE, 3).read(None, "c.yaml")


def test_the_default_asks_for_nothing() -> None:
    field = Field("name", Kind.NUMBER, 0, harmless=(7,))
    assert [field.asks(value) for value in (0, 0.0, 7, None, 1, False)] == [False, False, False, False, True, True]


def test_the_constructors_say_what_becomes_of_a_field() -> None:
    found = by_name(
        [key("a", Kind.WHOLE, 1, "data.a"), key("b", Kind.WHOLE, 1, "data.b", "twice")],
        [together("c", Kind.WHOLE, 1, "data.c"), idle("d", Kind.WHOLE, 1, "no"), refused("e", Kind.WHOLE, 1, "no")],
    )
    assert [each.fate for each in found.values()] == [
        *(Fate.SAME, Fate.DIFFERS, Fate.SAME, Fate.NO_EFFECT_HERE, Fate.REFUSED)
    ]
    assert [each.direct for each in found.values()] == [True, True, False, False, False]
    with pytest.raises(ValueError, match="a stands twice"):
        by_name([found["a"]], [found["a"]])
