"""Every field is read, told or refused; all that are refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.cli.ways_over.conversion import Tool, convert, in_table_order
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.fields import Fate, Kind, by_name, idle, idle_there, key, refused, together
from dpo_lightning.cli.ways_over.tree import plain
from dpo_lightning.errors import InputError


def square(draft: Draft) -> None:
    draft.put("model.square", draft.given.of("side", lambda side: side * side))


TOOL = Tool(
    "Other",
    by_name(
        [
            key("rows", Kind.WHOLE, 8, "data.rows"),
            key("rate", Kind.NUMBER, None, "data.rate", "per step here"),
            together("side", Kind.WHOLE, 2, "model.square"),
            idle("threads", Kind.WHOLE, 1, "none here"),
            idle_there("smooth", Kind.NUMBER, 0.0, "never read"),
            refused("noise", Kind.NUMBER, 0.0, "leave it out"),
        ]
    ),
    [square],
    no_config={"machines": "a list of machines"},
    earlier={"edge": "side"},
)


def converted(**values: Any) -> Draft:
    return convert(TOOL, values, "c.yaml")


def test_defaults_are_written_and_told_of_nothing() -> None:
    draft = converted()
    assert plain(draft.tree) == {"data": {"rows": 8}, "model": {"square": 4}}
    assert draft.told == []


def test_what_asks_for_something_is_told() -> None:
    draft = converted(rows=4, rate=0.5, threads=3, smooth=0.1, noise=0.0)
    assert plain(draft.tree)["data"] == {"rows": 4, "rate": 0.5}
    assert [(fate, [each.name for each in told]) for fate, told in in_table_order(draft.told)] == [
        (Fate.DIFFERS, ["rate"]),
        (Fate.NO_EFFECT_THERE, ["smooth"]),
        (Fate.NO_EFFECT_HERE, ["threads"]),
    ]


def test_all_that_is_refused_is_in_one_line() -> None:
    with pytest.raises(InputError) as raised:
        converted(noise=0.5, sides=3, what=1)
    assert str(raised.value) == (
        "c.yaml: without an equal here: noise 0.5 (leave it out); not known of Other: sides (did you mean side?), what."
        " Take them out, or leave each one out with --leave_out FIELD"
    )


def test_fields_are_left_out_knowingly() -> None:
    draft = convert(TOOL, {"noise": 0.5, "sides": 3, "rows": 2}, "c.yaml", ["noise", "sides"])
    assert plain(draft.tree)["data"]["rows"] == 2
    with pytest.raises(InputError, match=r"import --leave_out: c.yaml has no field noise"):
        convert(TOOL, {}, "c.yaml", ["noise"])


def test_former_names_are_read_and_named() -> None:
    draft = converted(edge=3)
    assert draft.tree["model"]["square"] == (9, "edge")
    assert [was for was, _ in TOOL.former()] == ["edge"]
    with pytest.raises(InputError, match="edge is the former name of side: give one of them"):
        converted(edge=3, side=3)


def test_another_file_of_the_tool_is_known() -> None:
    with pytest.raises(InputError, match=r"this is a list of machines \(it has `machines`\): give the config of Other"):
        converted(machines=3)
