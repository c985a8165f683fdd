"""The page on formats says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import dpo_lightning
from dpo_lightning.data import formats
from dpo_lightning.data.formats import AutoFormat, Format, PairFormat
from dpo_lightning.data.formats.framed import FramedFormat
from dpo_lightning.data.formats.known import known_formats

PAGE = (Path(dpo_lightning.__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
ROWS = {
    name: rest
    for line in PAGE.splitlines()
    if (found := re.match(r"\| `(\w+)` (\|.*)", line))
    for name, rest in [found.groups()]
}
CLASSES = {
    name: kind
    for name in formats.__all__
    if isinstance(kind := getattr(formats, name), type)
    and issubclass(kind, Format)
    and kind not in (Format, PairFormat, AutoFormat)
}
GIVES = {"pairs": "pairs", "labelled": "labelled completions"}


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_it_has_every_format() -> None:
    assert ROWS.keys() == CLASSES.keys()
    assert CLASSES.keys() <= set(dpo_lightning.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_a_format_has_the_settings_that_it_says(name: str) -> None:
    base = next(each for each in (PairFormat, FramedFormat, Format) if issubclass(CLASSES[name], each))
    shared = {each.name for each in fields(base)}
    own = [each.name for each in fields(CLASSES[name]) if each.name not in shared]
    *_, has, _, gives, settings, _ = ROWS[name].split("|")

    assert names(settings) == own
    if name != "ScoredListFormat":
        assert gives.strip().startswith(GIVES[CLASSES[name].gives.value])
    if base is PairFormat and name not in ("ComparedFormat", "ScoredPairsFormat", "ScoredListFormat"):
        made = CLASSES[name]()
        assert {column for each in own[:3] if isinstance(column := getattr(made, each), str)} <= {*names(has)}


def test_settings_of_all_are_named() -> None:
    (shared,) = re.findall(r"^Settings are .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert {each.name for each in fields(PairFormat)} <= {*names(shared)}


def test_what_is_found_is_there_with_its_columns() -> None:
    said = dict(re.findall(r"^\| ([^|`]+?) \| (.*) \|$", PAGE, re.MULTILINE))
    prompts = names(said["pairs"])
    labels = names(said["labelled completions"])
    sides = names(said["comparison in words"])
    for known in known_formats():
        for column in known.needs:
            allowed = [*names(said[known.title]), *sides, *prompts, *labels]
            assert column in allowed or any(column == a + b for a in allowed for b in allowed), (known.title, column)
