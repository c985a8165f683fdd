"""The rooms of the package on their floors, and the imports between them, as a picture."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tools.docs.import_graph import ROOT, Floors, arrows_up, circles, floors_of, rooms_of
from tools.docs.room_places import COLUMNS, place_rooms

_WIDTH, _HEIGHT = 0.92, 0.46
_INK, _PALE, _WRONG = "#33475b", "#c3ccd6", "#d62728"
_FILL, _EDGE, _BAND = "#e8eef5", "#5b7690", "#f6f8fa"

Places = dict[str, tuple[float, float]]


def draw_rooms(files: nx.DiGraph, path: Path) -> None:
    """Draw the rooms as boxes on floors; an arrow goes from the importing room down to the imported one.

    Dark arrows are those that no longer way explains (the transitive reduction); the others lie pale beneath them. An
    arrow that goes up is red.

    Args:
        files: Imports between the files.
        path: The PNG file.
    """
    rooms = rooms_of(files)
    floors = floors_of(rooms)
    up = arrows_up(rooms, floors)
    down = nx.DiGraph()
    down.add_nodes_from(rooms)
    down.add_edges_from(arrow for arrow in rooms.edges if arrow not in set(up))
    needed = set(nx.transitive_reduction(down).edges)
    places = place_rooms(floors, needed, down.edges - needed)
    figure = Figure(figsize=(12, 0.9 * len(floors) + 0.8), layout="constrained")
    axes = figure.subplots()
    _draw_floors(axes, floors)
    for style, arrows in ((_pale, down.edges - needed), (_dark, needed), (_red, up)):
        for one, other in sorted(arrows):
            style(axes, places, one, other)
    for room, place in places.items():
        _draw_room(axes, room, place, rooms.nodes[room]["files"])
    axes.set_title(_title(rooms, floors, files), fontsize=12, color=_INK, pad=2)
    axes.set_xlim(-0.75, COLUMNS + 0.75)
    axes.set_ylim(-0.6, len(floors) - 0.4)
    axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


def _title(rooms: nx.DiGraph, floors: Floors, files: nx.DiGraph) -> str:
    return (
        f"{len(rooms)} rooms on {len(floors)} floors, {rooms.number_of_edges()} arrows: who imports whom\n"
        f"back up: {len(arrows_up(rooms, floors))}; circles of rooms: {len(circles(rooms))}, "
        f"of files: {len(circles(files))}; a pale arrow could be left out, since a longer way goes there too"
    )


def _draw_floors(axes: Axes, floors: Floors) -> None:
    for number in range(len(floors)):
        if number % 2 == 0:
            axes.axhspan(number - 0.5, number + 0.5, color=_BAND, zorder=0, linewidth=0)
        axes.text(-0.7, number, str(number), va="center", fontsize=9, color=_EDGE, zorder=1)


def _draw_room(axes: Axes, room: str, place: tuple[float, float], files: int) -> None:
    x, y = place
    corner = (x - _WIDTH / 2, y - _HEIGHT / 2)
    shape = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, _WIDTH, _HEIGHT, shape, facecolor=_FILL, edgecolor=_EDGE, zorder=5))
    name = "dpo_lightning" if room == ROOT else room
    axes.text(x, y + 0.07, name, ha="center", va="center", fontsize=11.5, weight="bold", color=_INK, zorder=6)
    count = "public names" if room == ROOT else f"{files} file{'s' if files > 1 else ''}"
    axes.text(x, y - 0.12, count, ha="center", va="center", fontsize=8, color=_EDGE, zorder=6)


def _dark(axes: Axes, places: Places, one: str, other: str) -> None:
    _arrow(axes, places, one, other, color=_INK, linewidth=1.2, zorder=3, heads=9)


def _pale(axes: Axes, places: Places, one: str, other: str) -> None:
    _arrow(axes, places, one, other, color=_PALE, linewidth=0.7, zorder=2, heads=6)


def _red(axes: Axes, places: Places, one: str, other: str) -> None:
    _arrow(axes, places, one, other, color=_WRONG, linewidth=1.6, zorder=4, heads=10)


def _arrow(
    axes: Axes, places: Places, one: str, other: str, *, color: str, linewidth: float, zorder: int, heads: int
) -> None:
    """Draw from the edge of a box to that of the other; upward ones leave at the top."""
    (x, y), (to_x, to_y) = places[one], places[other]
    side = 1 if to_y < y else -1
    lean = max(-1.0, min(1.0, (to_x - x) / (abs(to_y - y) + 1e-9) / 2))
    begin = (x + 0.3 * _WIDTH * lean, y - side * _HEIGHT / 2)
    end = (to_x - 0.3 * _WIDTH * lean, to_y + side * _HEIGHT / 2)
    look = {"arrowstyle": "-|>", "color": color, "linewidth": linewidth, "mutation_scale": heads}
    axes.annotate("", end, begin, arrowprops={**look, "shrinkA": 0, "shrinkB": 0}, zorder=zorder)
