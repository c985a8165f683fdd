"""Imports of a package as graphs: its files, its rooms, and the floors that the contract in setup.cfg gives these."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path
from typing import TypeAlias

import grimp
import networkx as nx

SETTINGS = Path(__file__).parents[2] / "setup.cfg"
ROOT = "__init__"
"""The package's own `__init__.py`, as a room."""

Floors: TypeAlias = list[tuple[str, ...]]


def files_of(package: str) -> nx.DiGraph:
    """Build the graph of imports between the files of a package, those for type checking alone included.

    Args:
        package: Name of a package that can be imported; a package's name stands for its `__init__.py`.

    Returns:
        An arrow goes from the file that imports to the one that is imported.
    """
    graph = grimp.build_graph(package, cache_dir=None)
    files = nx.DiGraph()
    files.add_nodes_from(sorted(graph.modules))
    for file in sorted(graph.modules):
        files.add_edges_from((file, other) for other in sorted(graph.find_modules_directly_imported_by(file)))
    return files


def room_of(file: str) -> str:
    """Return the room of a file: the subpackage or module directly under the package."""
    return [*file.split("."), ROOT][1]


def rooms_of(files: nx.DiGraph) -> nx.DiGraph:
    """Build the graph of imports between rooms.

    Returns:
        A node's attribute `files` counts its files, an arrow's `imports` the imports between files.
    """
    rooms = nx.DiGraph()
    for file in files:
        name = room_of(file)
        rooms.add_node(name, files=rooms.nodes[name]["files"] + 1 if name in rooms else 1)
    for importer, imported in files.edges:
        ends = room_of(importer), room_of(imported)
        if ends[0] != ends[1]:
            rooms.add_edge(*ends, imports=rooms.edges[ends]["imports"] + 1 if ends in rooms.edges else 1)
    return rooms


def floors_of(rooms: nx.DiGraph, settings: Path = SETTINGS) -> Floors:
    """Read the floors from the contract of layers, the highest first.

    A room that the contract does not list, such as the package's own `__init__.py`, has a floor of its own, just above
    the rooms that it imports.

    Args:
        rooms: Graph of rooms.
        settings: File with the section of the contract.
    """
    contract = ConfigParser()
    contract.read(settings, encoding="utf-8")
    lines = contract["importlinter:contract:layers"]["layers"].split("\n")
    floors = [tuple(name.strip() for name in line.split("|")) for line in lines if line.strip()]
    listed = {name for floor in floors for name in floor}
    for room in sorted(rooms.nodes - listed):
        number = min((n for n, floor in enumerate(floors) if set(floor) & set(rooms[room])), default=len(floors))
        floors.insert(number, (room,))
    return [there for floor in floors if (there := tuple(room for room in floor if room in rooms))]


def arrows_up(rooms: nx.DiGraph, floors: Floors) -> list[tuple[str, str]]:
    """Return the imports of a room on the same floor or on a higher one."""
    height = {room: -number for number, floor in enumerate(floors) for room in floor}
    return sorted((one, other) for one, other in rooms.edges if height[one] <= height[other])


def circles(graph: nx.DiGraph) -> list[list[str]]:
    """Return the groups of nodes that import one another, directly or over others."""
    return sorted(sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1)


def summary(files: nx.DiGraph) -> list[str]:
    """Describe the imports in lines of text."""
    rooms = rooms_of(files)
    floors = floors_of(rooms)
    up = [f"{one} -> {other}" for one, other in arrows_up(rooms, floors)]
    return [
        f"{len(rooms)} rooms on {len(floors)} floors, {rooms.number_of_edges()} arrows between them",
        f"{len(files)} files, {files.number_of_edges()} imports between them",
        f"arrows back up: {', '.join(up) or 'none'}",
        f"circles of rooms: {_listed(circles(rooms))}",
        f"circles of files: {_listed(circles(files))}",
    ]


def _listed(groups: list[list[str]]) -> str:
    return "; ".join(" ".join(group) for group in groups) or "none"
