"""Every field of axolotl's schemas has a fate, and every fate is one that a reader can act on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dpo_lightning.cli.ways_over.axolotl.fields import (
    FIELDS,
    OF_DATASET_NAMES,
    OF_SPECIAL_TOKENS_NAMES,
    OF_TRL_NAMES,
    OF_TYPE_NAMES,
)
from dpo_lightning.cli.ways_over.axolotl.of_run import OF_PLUGINS
from dpo_lightning.cli.ways_over.fields import Fate, Field

NAMES = (Path(__file__).parent / "names.txt").read_text().split()
NESTED: dict[str, Mapping[str, Field]] = {
    "": FIELDS,
    "datasets[].": OF_DATASET_NAMES,
    "datasets[].type.": OF_TYPE_NAMES,
    "trl.": OF_TRL_NAMES,
    "special_tokens.": OF_SPECIAL_TOKENS_NAMES,
}


def test_the_fields_are_those_of_the_schemas() -> None:
    ours = {f"{place}{name}" for place, fields in NESTED.items() for name in fields}
    assert len(NAMES) == 506
    assert ours - {each.name for each in OF_PLUGINS} == {*NAMES}


@pytest.mark.parametrize("place", NESTED)
def test_each_fate_says_what_it_must(place: str) -> None:
    for name, each in NESTED[place].items():
        if each.fate is Fate.SAME:
            assert each.here, name
        else:
            assert each.said, name
        assert not each.said.endswith("."), name
