"""Rooms, floors, arrows back up and circles of made-up imports, by hand."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from tools.docs.files_picture import files_in_order
from tools.docs.import_graph import arrows_up, circles, files_of, floors_of, rooms_of, summary
from tools.docs.room_places import place_rooms

FILES = nx.DiGraph(
    [
        ("p", "p.data"),
        ("p.cli.main", "p"),
        ("p.cli.main", "p.data.rows"),
        ("p.cli.main", "p.data"),
        ("p.data", "p.data.rows"),
        ("p.data.rows", "p.errors"),
    ]
)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "setup.cfg"
    path.write_text("[importlinter:contract:layers]\nlayers =\n    cli\n    data | absent\n    errors\n")
    return path


def test_rooms_count_their_files_and_imports() -> None:
    rooms = rooms_of(FILES)

    assert dict(rooms.nodes(data="files")) == {"__init__": 1, "data": 2, "cli": 1, "errors": 1}
    assert {(one, other): count for one, other, count in rooms.edges(data="imports")} == {
        ("__init__", "data"): 1,
        ("cli", "__init__"): 1,
        ("cli", "data"): 2,
        ("data", "errors"): 1,
    }


def test_floors_are_the_contracts_and_the_package_stands_above_what_it_imports(settings: Path) -> None:
    rooms = rooms_of(FILES)

    assert floors_of(rooms, settings) == [("cli",), ("__init__",), ("data",), ("errors",)]


def test_an_arrow_up_or_along_a_floor_is_found() -> None:
    rooms = nx.DiGraph([("cli", "data"), ("data", "policy"), ("errors", "cli")])

    assert arrows_up(rooms, [("cli",), ("data", "policy"), ("errors",)]) == [("data", "policy"), ("errors", "cli")]


def test_a_circle_is_found_over_others() -> None:
    assert circles(FILES) == []
    assert circles(nx.DiGraph([*FILES.edges, ("p.errors", "p.data")])) == [["p.data", "p.data.rows", "p.errors"]]


def test_imports_for_type_checking_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "made_up_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text("from made_up_package import two\n")
    (package / "two.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from made_up_package import one\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    assert circles(files_of("made_up_package")) == [["made_up_package.one", "made_up_package.two"]]


def test_files_stand_before_what_they_import() -> None:
    names = {"p": "dpo_lightning", **{file: file.replace("p.", "dpo_lightning.", 1) for file in FILES if file != "p"}}
    order = files_in_order(nx.relabel_nodes(FILES, names))

    assert order[1:] == [f"dpo_lightning{name}" for name in ("", ".data", ".data.rows", ".errors")]


def test_the_summary_names_what_is_wrong() -> None:
    files = nx.DiGraph([("p.cli", "p.errors"), ("p.errors", "p.cli")])

    assert summary(files) == [
        "2 rooms on 2 floors, 2 arrows between them",
        "2 files, 2 imports between them",
        "arrows back up: errors -> cli",
        "circles of rooms: cli errors",
        "circles of files: p.cli p.errors",
    ]


def test_rooms_of_a_floor_stand_apart_and_an_arrow_passes_beside_a_room() -> None:
    floors = [("top",), ("left", "right"), ("bottom",)]
    arrows = [("top", "left"), ("top", "right"), ("left", "bottom")]
    places = place_rooms(floors, arrows, [("top", "bottom")])

    assert {room: up for room, (_, up) in places.items()} == {"top": 2, "left": 1, "right": 1, "bottom": 0}
    assert abs(places["left"][0] - places["right"][0]) >= 1.15
    assert places == place_rooms(floors, arrows, [("top", "bottom")])
