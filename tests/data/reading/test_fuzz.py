"""Random rows, written in every way, are read back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from dpo_lightning.data.reading import json_files
from dpo_lightning.data.reading.sources import load_rows
from tests.data.reading.test_sources import PACK, WRITE, write

TEXTS = some.text(some.characters(exclude_categories=["Cs"]), max_size=6) | some.sampled_from(
    [
        "007",
        "TRUE",
        "NA",
        "null",
        "1e5",
        "2024-01-02",
        "2024-01-02T00:00:00Z",
        "[1]",
        '{"a": 1}',
        "\u2028",
        "\x00",
        "\ufeff",
    ]
)
SCALARS = some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | TEXTS
VALUES = some.recursive(
    SCALARS, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
ROWS = some.lists(some.dictionaries(some.sampled_from("abcd"), VALUES, min_size=1), min_size=1, max_size=6)
TABLES = some.lists(some.fixed_dictionaries({"a": TEXTS, "b": TEXTS}), min_size=1, max_size=6)
quick = settings(max_examples=12, deadline=None, database=None, suppress_health_check=[*HealthCheck])


def read(path: Path) -> list[dict[str, Any]]:
    return [*load_rows(str(path), "train", {"cache_dir": str(path.parent / "cache")})]


def typed(rows: list[dict[str, Any]]) -> str:
    """Rows with the types of their values, without fields that are null."""
    return json.dumps([{key: row[key] for key in sorted(row) if row[key] is not None} for row in rows])


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.zst", ".json.bz2", ".ndjson.gz"])
@quick
@given(ROWS, some.sampled_from([3, 1 << 22]))
def test_rows_of_json_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[dict[str, Any]], chunk: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"a{suffix}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "_CHUNK", chunk)
        assert typed(read(Path(write(path, rows)))) == typed(rows)


@pytest.mark.parametrize("suffix", sorted(WRITE))
@pytest.mark.parametrize("packed", ["", *PACK])
@settings(quick, max_examples=4)
@given(TABLES)
def test_texts_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, packed: str, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"a{suffix}{packed}"
    found = read(Path(write(path, rows)))
    empty = None if suffix in (".csv", ".tsv") else ""
    assert found == [{name: text or empty for name, text in row.items()} for row in rows]
