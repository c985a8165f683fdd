"""The table of what became of the fields, as it is printed."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Collection, Iterator

from dpo_lightning.cli.ways_over.conversion import Tool, in_table_order
from dpo_lightning.cli.ways_over.draft import Draft, Told
from dpo_lightning.cli.ways_over.fields import Fate
from dpo_lightning.utils.text import one_line

_WIDTH = 80
_HEADINGS = {
    Fate.DIFFERS: "means something else here",
    Fate.NO_EFFECT_THERE: "had no effect there, left out",
    Fate.NO_EFFECT_HERE: "not needed here, left out",
}


def table(tool: Tool, draft: Draft, left_out: Collection[str]) -> Iterator[str]:
    """Yield lines of at most 80 characters: what differs in meaning, and what was left out and why."""
    told = {each.name for each in draft.told}
    same = [name for name in draft.given.values if name not in told]
    yield f"{len(same)} of {len(draft.given.values)} fields of {tool.title} mean the same here"
    for fate, lines in in_table_order(draft.told):
        yield f"{_HEADINGS[fate]}:"
        for each in lines:
            yield from _entry(each)
    if left_out:
        yield f"left out because you asked for it: {', '.join(left_out)}"


def _entry(told: Told) -> Iterator[str]:
    value = "" if told.value is None or _is_nested(told.value) else f" {one_line(_plain(told.value), 40)}"
    yield from textwrap.wrap(
        f"{told.name}{value}: {told.said}",
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _is_nested(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict) for each in value))
