"""Converts a config of another tool to one of ours: every field is read, told or refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dpo_lightning.cli.ways_over.draft import Draft, Told
from dpo_lightning.cli.ways_over.fields import Fate, Field
from dpo_lightning.cli.ways_over.given import Given
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import nearest, one_line


@dataclass(frozen=True)
class Tool:
    """Another tool's configs, and how they are read.

    Args:
        title: Its name, as its users write it.
        fields: What a config may have, by name.
        steps: Functions that read fields together, in the order in which they write our keys. They see a config that
            has only known fields, and put, tell or refuse.
        flat: Opens what is nested before fields are looked up.
        earlier: Former names of fields -> the names of now.
        no_config: Keys by which a file is known to be another of the tool's files, with what it is.
        called: Names of fields in functions that several tools share -> the names here.
        fixed: What the tool always takes of fields in such functions that it has not.
    """

    title: str
    fields: Mapping[str, Field]
    steps: Sequence[Callable[[Draft], None]]
    flat: Callable[[Mapping[str, Any], str], Mapping[str, Any]] = lambda values, place: values
    no_config: Mapping[str, str] = field(default_factory=dict)
    called: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def former(self) -> Iterator[tuple[str, Field]]:
        """Yield former names of fields, each with the field of now."""
        return ((was, self.fields[now]) for was, now in self.earlier.items())


def convert(tool: Tool, values: Mapping[str, Any], place: str, leave_out: Collection[str] = ()) -> Draft:
    """Return what a config becomes.

    Args:
        tool: Whose it is.
        values: The config, as the file has it.
        place: The file, for messages.
        leave_out: Fields that the user wants left out.

    Raises:
        InputError: in one line, naming all fields that are unknown or have no equal; for a value that is none of its
            field, for a name to leave out that the config has not, and for a file that is no config of the tool.
    """
    for key, said in tool.no_config.items():
        if key in values:
            raise InputError(f"{place}: this is {said} (it has `{key}`): give the config of {tool.title} itself")
    opened = tool.flat({name: value for name, value in values.items() if name not in leave_out}, place)
    for name in leave_out:
        if name not in values and name not in opened:
            raise InputError(f"import --leave_out: {place} has no field {name}")
    opened = {name: value for name, value in opened.items() if name not in leave_out}
    fields, called = _with_earlier(tool, opened, place)
    unknown = [name for name in opened if name not in fields]
    known = {name: fields[name].read(value, place) for name, value in opened.items() if name in fields}
    draft = Draft(Given(fields, known, called, tool.fixed))
    _fates(draft)
    for step in tool.steps:
        step(draft)
    if unknown or draft.refused:
        raise InputError(_refusal(tool, place, unknown, draft.refused))
    return draft


def _with_earlier(tool: Tool, values: Collection[str], place: str) -> tuple[dict[str, Field], dict[str, str]]:
    """Return the fields and how they are called, where a config has former names."""
    fields, called = dict(tool.fields), dict(tool.called)
    for was, now in tool.earlier.items():
        if was not in values:
            continue
        if now in values or now in called:
            raise InputError(f"{place}: {was} is the former name of {called.get(now, now)}: give one of them")
        fields[was] = replace(fields.pop(now), name=was)
        called[now] = was
    return fields, called


def _fates(draft: Draft) -> None:
    """Do what the table of fields says of each one that asks for something."""
    for name in draft.given.values:
        each = draft.given.fields[name]
        if not each.asks(draft.given.values[name]) or not each.tells:
            continue
        if each.fate is Fate.REFUSED:
            draft.refuse(name, each.said)
        elif each.said:
            draft.tell(each.fate, name, each.said)
    for name, each in draft.given.fields.items():
        if each.direct and (draft.given.says(name) or each.default is not None) and each.fate is not Fate.REFUSED:
            value = draft.given.of(name, each.convert)
            if value.value is not None:
                draft.put(each.here, value)


def _refusal(tool: Tool, place: str, unknown: Sequence[str], refused: Sequence[Told]) -> str:
    said = []
    if refused:
        said.append(f"without an equal here: {'; '.join(_with_remedy(each) for each in refused)}")
    if unknown:
        said.append(f"not known of {tool.title}: {', '.join(_with_nearest(name, tool.fields) for name in unknown)}")
    return f"{place}: {'; '.join(said)}. Take them out, or leave each one out with --leave_out FIELD"


def _with_remedy(told: Told) -> str:
    value = "" if isinstance(told.value, dict | list | None) else f" {one_line(told.value, 60)}"
    return f"{told.name}{value} ({told.said})"


def _with_nearest(name: str, fields: Collection[str]) -> str:
    close = nearest(str(name), fields)
    return f"{one_line(name, 60)} (did you mean {close}?)" if close else one_line(name, 60)


def in_table_order(told: Sequence[Told]) -> Iterator[tuple[Fate, list[Told]]]:
    """Yield the lines of each fate that has any, those first that change what the run means."""
    for fate in (Fate.DIFFERS, Fate.NO_EFFECT_THERE, Fate.NO_EFFECT_HERE):
        found = [each for each in told if each.fate is fate]
        if found:
            yield fate, found
