"""What a config says, and what the tool takes where it says nothing."""

from __future__ import annotations

from dpo_lightning.cli.ways_over.fields import Field, Kind
from dpo_lightning.cli.ways_over.given import Given

FIELDS = {name: Field(name, Kind.WHOLE, 1) for name in ("a", "b", "own_c")}
GIVEN = Given(FIELDS, {"a": 2, "own_c": 1}, {"c": "own_c"})


def test_values_come_before_defaults() -> None:
    assert [GIVEN[name] for name in ("a", "b", "c", "elsewhere")] == [2, 1, 1, None]
    assert [GIVEN.says(name) for name in ("a", "b", "c")] == [True, False, True]
    assert [GIVEN.asks(name) for name in ("a", "b", "c")] == [True, False, False]


def test_comments_name_the_fields_as_the_tool_does() -> None:
    assert GIVEN.because("a", "c") == "a, own_c"
    assert GIVEN.because("a", "b") == "a; b by default there"
    assert GIVEN.of("c", lambda value: value + 1) == (2, "own_c")
