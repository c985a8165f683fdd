"""The architecture as numbers: rooms and arrows are few, all arrows go down, and none closes a circle.

Imports for type checking count. `python -m tools.docs.imports` draws what is held here.
"""

from __future__ import annotations

import re
from pathlib import Path

import networkx as nx
import pytest

from tools.docs import imports
from tools.docs.import_graph import arrows_up, circles, files_of, floors_of, rooms_of

MOST_ROOMS, MOST_ARROWS = 22, 113


@pytest.fixture(scope="module")
def files() -> nx.DiGraph:
    return files_of("dpo_lightning")


def test_rooms_and_arrows_are_few(files: nx.DiGraph) -> None:
    rooms = rooms_of(files)

    assert len(rooms) <= MOST_ROOMS
    assert rooms.number_of_edges() <= MOST_ARROWS


def test_no_arrow_goes_back_up(files: nx.DiGraph) -> None:
    rooms = rooms_of(files)

    assert arrows_up(rooms, floors_of(rooms)) == []


def test_rooms_make_no_circle(files: nx.DiGraph) -> None:
    assert circles(rooms_of(files)) == []


@pytest.mark.parametrize("package", ["dpo_lightning", "benchmarks", "tools"])
def test_files_make_no_circle(package: str) -> None:
    assert circles(files_of(package)) == []


def test_neither_tools_nor_benchmarks_import_tests() -> None:
    root = Path(__file__).parents[3]
    sources = [path for folder in ("tools", "benchmarks") for path in (root / folder).rglob("*.py")]
    importing = re.compile(r"^\s*(from|import) tests\b", re.MULTILINE)

    assert len(sources) > 30
    assert [path.name for path in sources if importing.search(path.read_text(encoding="utf-8"))] == []


def test_both_pictures_are_drawn_and_the_numbers_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = nx.DiGraph([("dpo_lightning.cli", "dpo_lightning.data"), ("dpo_lightning.data", "dpo_lightning.errors")])
    monkeypatch.setattr(imports, "files_of", lambda package: small)
    page = tmp_path / "page.md"
    page.write_text(imports.DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    for folder in ("one", "two"):
        imports.main(tmp_path / folder, page)

    assert "3 rooms on 3 floors, 2 arrows between them" in capsys.readouterr().out
    for name in ("rooms.png", "files.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert (imports.PICTURES / name).stat().st_size > 10_000
