"""The tools by their names."""

from __future__ import annotations

from dpo_lightning.cli.ways_over.tools import NAMES, tool_named


def test_every_tool_is_there() -> None:
    assert "trl" in NAMES
    tools = [tool_named(name) for name in NAMES]
    assert len({tool.title for tool in tools}) == len(NAMES)
    for tool in tools:
        assert {*tool.earlier.values()} <= tool.fields.keys()
        assert [name for name, field in tool.fields.items() if field.name != name] == []
