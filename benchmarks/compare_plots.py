"""The results of `compare.py` as pictures beside them.

python -m benchmarks.compare_plots [RESULTS]    # draw again
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.compare_sides import SIDES

COLOURS = {"tree": "#1b7f5c", "padded": "#7fbf9f", "trl": "#b0b0b0"}
# What the cases of a panel share, where a case lies in it, and what that is.
_SWEEPS = {
    "length": (
        ("model", "device", "mode", "precision", "batch_pairs"),
        lambda case: int(case["profile"].removeprefix("fixed-")),
        "tokens of prompt and completion",
    ),
    "batch": (
        ("model", "device", "profile", "mode", "precision"),
        lambda case: case["batch_pairs"],
        "pairs of a step",
    ),
}
Results = dict[str, dict[str, Any]]


def plot(results: Results, output: Path) -> None:
    """Bars of pairs/s, and the cost over sequence length and over pairs of a step where there are at least two.

    Writes `<output>.png`, `<output>-length.png` and `<output>-batch.png`, without the suffix of `output`.
    """
    shown = {name: case for name, case in results.items() if case["summary"]["sides"]}
    if compared := {name: case for name, case in shown.items() if case["sweep"] is None}:
        _bars(compared, output.with_suffix(".png"))
    for sweep, (group, position, label) in _SWEEPS.items():
        grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for case in shown.values():
            if case["sweep"] == sweep:
                grouped["/".join(str(case[key]) for key in group)].append(case)
        lines = {title: sorted(members, key=position) for title, members in grouped.items() if len(members) > 1}
        if lines:
            _lines(lines, position, label, output.with_name(f"{output.stem}-{sweep}.png"))


def _bars(cases: Results, path: Path) -> None:
    figure, panels = _panels(len(cases))
    for panel, (name, case) in zip(panels, cases.items(), strict=True):
        sides = case["summary"]["sides"]
        values = [side["pairs_per_s"] for side in sides.values()]
        bars = panel.barh(list(sides), values, color=[_colour(side) for side in sides])
        panel.bar_label(bars, fmt="%.2f", padding=3)
        panel.invert_yaxis()
        panel.margins(x=0.15)
        panel.set(title=name, xlabel="pairs/s")
    figure.savefig(path, dpi=150)


def _lines(lines: dict[str, list[dict[str, Any]]], position: Any, label: str, path: Path) -> None:
    """A panel for each group of cases: seconds a pair, a line for each side."""
    figure, panels = _panels(len(lines))
    for panel, (title, members) in zip(panels, lines.items(), strict=True):
        for side in {side: None for case in members for side in case["summary"]["sides"]}:
            points = [(position(case), case["summary"]["sides"].get(side)) for case in members]
            known = [(x, 1 / values["pairs_per_s"]) for x, values in points if values is not None]
            panel.plot(*zip(*known, strict=True), marker="o", label=side)
        panel.set(title=title, xlabel=label, ylabel="seconds a pair", xscale="log", yscale="log")
        panel.set_xticks([position(case) for case in members], [str(position(case)) for case in members])
        panel.minorticks_off()
        panel.legend()
    figure.savefig(path, dpi=150)


def _panels(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6 * count), layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False).flat)


def _colour(side: str) -> str:
    known = SIDES.get(side)
    return COLOURS["trl" if known is None or known.library == "trl" else known.layout]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Pictures of what benchmarks.compare has measured, beside its file.")
    default = Path(__file__).parent / "results" / "compare.json"
    parser.add_argument(
        "results", nargs="?", type=Path, default=default, help="file that benchmarks.compare has written"
    )
    source = parser.parse_args().results
    if not source.is_file():
        parser.error(f"{source}: no such file")
    plot(json.loads(source.read_text(encoding="utf-8")), source)
