"""All files of the package and the imports between them, as a matrix."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tools.docs.import_graph import ROOT, circles, floors_of, room_of, rooms_of

_INK, _INSIDE, _ACROSS, _WRONG, _LINE, _BLOCK = "#33475b", "#7f93a8", "#1f5f99", "#d62728", "#dfe5ec", "#eef3f8"
_MARGIN = 11.0  # left of the matrix, for the names of the first rooms


def draw_files(files: nx.DiGraph, path: Path) -> None:
    """Draw a matrix: a dot where the file of the row imports that of the column.

    Rooms and files stand in the order of their imports, so that every dot lies right of the diagonal; one that does
    not is red, and breaks a floor or closes a circle.

    Args:
        files: Imports between the files.
        path: The PNG file.
    """
    order = files_in_order(files)
    place = {file: number for number, file in enumerate(order)}
    figure = Figure(figsize=(18, 18.6), layout="constrained")
    axes = figure.subplots()
    blocks = _blocks(order)
    for room, first, last in blocks:
        _draw_block(axes, room, first, last, len(order))
    for colour, dots in _dots(files, place).items():
        across, down = [x for x, _ in dots], [y for _, y in dots]
        axes.scatter(across, down, s=17, marker="s", color=colour, linewidths=0, zorder=3)
    _label(axes, order)
    axes.set_title(
        f"{len(files)} files, {files.number_of_edges()} imports: the file of a row imports that of a column "
        f"(grey within a room, blue across rooms); against the order: "
        f"{len(_wrong(files, place))}, circles: {len(circles(files))}",
        fontsize=14,
        color=_INK,
        pad=10,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


def files_in_order(files: nx.DiGraph) -> list[str]:
    """Sort files from those that import to those that are imported, room by room as the floors have them."""
    rooms = rooms_of(files)
    names = [room for floor in floors_of(rooms) for room in floor]
    ordered = []
    for room in names:
        inside = nx.DiGraph(files.subgraph(file for file in files if room_of(file) == room))
        groups = nx.condensation(inside, scc=sorted(nx.strongly_connected_components(inside), key=min))
        first = {number: min(data["members"]) for number, data in groups.nodes(data=True)}
        for number in nx.lexicographical_topological_sort(groups, key=first.__getitem__):
            ordered += sorted(groups.nodes[number]["members"])
    return ordered


def _blocks(order: list[str]) -> list[tuple[str, int, int]]:
    """Return each room with the places of its first and last file."""
    places: dict[str, list[int]] = {}
    for number, file in enumerate(order):
        places.setdefault(room_of(file), []).append(number)
    return [(room, numbers[0], numbers[-1]) for room, numbers in places.items()]


def _dots(files: nx.DiGraph, place: dict[str, int]) -> dict[str, list[tuple[int, int]]]:
    """Return column and row of each import, by its colour."""
    dots: dict[str, list[tuple[int, int]]] = {_INSIDE: [], _ACROSS: [], _WRONG: []}
    wrong = set(_wrong(files, place))
    for one, other in files.edges:
        colour = _INSIDE if room_of(one) == room_of(other) else _ACROSS
        dots[_WRONG if (one, other) in wrong else colour].append((place[other], place[one]))
    return dots


def _wrong(files: nx.DiGraph, place: dict[str, int]) -> list[tuple[str, str]]:
    return [(one, other) for one, other in files.edges if place[other] < place[one]]


def _draw_block(axes: Axes, room: str, first: int, last: int, count: int) -> None:
    size = last - first + 1
    axes.add_patch(Rectangle((first - 0.5, first - 0.5), size, size, facecolor=_BLOCK, edgecolor=_INK, linewidth=0.8))
    for edge in (first - 0.5, last + 0.5):
        axes.plot([-0.5, count - 0.5], [edge, edge], color=_LINE, linewidth=0.6, zorder=1)
        axes.plot([edge, edge], [-0.5, count - 0.5], color=_LINE, linewidth=0.6, zorder=1)
    name = "dpo_lightning" if room == ROOT else room
    font = min(6.5 + 1.5 * size, 17)
    axes.text(first - 1.2, (first + last) / 2, name, ha="right", va="center", fontsize=font, weight="bold", color=_INK)


def _names(order: list[str]) -> list[str]:
    """Name each file within its room; a subpackage itself is its `__init__`."""
    alone = {room for room, first, last in _blocks(order) if first == last}
    names = []
    for file in order:
        room, inside = room_of(file), file.split(".", 2)[2:]
        names.append(inside[0] if inside else room if room in alone else ROOT)
    return names


def _label(axes: Axes, order: list[str]) -> None:
    names = _names(order)
    axes.set_yticks(range(len(order)), names, fontsize=6)
    axes.set_xticks(range(len(order)), names, fontsize=6, rotation=90)
    axes.tick_params(length=0, pad=2, colors=_INK)
    axes.xaxis.tick_top()
    axes.set_xlim(-_MARGIN, len(order) - 0.5)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.plot([-0.5, len(order) - 0.5], [-0.5, len(order) - 0.5], color=_LINE, linewidth=0.8, zorder=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
