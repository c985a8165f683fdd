"""What the rows of `gpu.py` say: rates, shares of the ceilings, ratios to TRL, and whether all computed the same."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks.compare_models import llama_config
from benchmarks.gpu_rows import GEMM_GOAL, GOALS, MEMORY_GOAL, SIDES
from benchmarks.gpu_side import lora_rank
from benchmarks.roofline import Work, useful_flops

LOGP_LIMIT = 1e-3
"""Largest relative difference of a sequence's log-prob to the median of the sides, in bfloat16."""
GRADIENT_LIMIT = 2e-2
"""The same of the norm of the first step's gradients."""
HEAD_LIMITS = {"logp_error": 5e-3, "gradient_error": 2e-2}
"""Largest relative errors of a head against float64, whose logits are rounded to bfloat16."""

Figures = dict[str, Any]


COLUMNS = 80
"""Width of a terminal into which the tables fit."""


class Table(NamedTuple):
    """A title, headings, and cells; the first column is of words, the others of figures, unless all are `texts`."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: bool = False


def derived(results: Mapping[str, Any]) -> dict[str, Figures]:
    """The rows with what follows from their figures, in the order of the file."""
    rows = {name: dict(figures) for name, figures in results["rows"].items()}
    ceiling = rows.get("ceilings", {}).get("product_tflops")
    for case in _cases(rows).values():
        for name in case:
            rows[name].update(_step_figures(rows[name], results["examples"], ceiling))
        _add_differences([rows[name] for name in case])
    return rows


def _cases(rows: Mapping[str, Figures]) -> dict[str, list[str]]:
    """Names of the finished steps of each model, mode and profile."""
    cases: dict[str, list[str]] = {}
    for name, figures in rows.items():
        if figures.get("kind") == "step" and "error" not in figures:
            cases.setdefault(name.rpartition("/")[0], []).append(name)
    return cases


def _step_figures(row: Figures, examples: Mapping[str, Any], ceiling: float | None) -> Figures:
    seconds = sum(row["step_s"])
    of_case = examples[f"{row['model']}/{row['profile']}"]
    online = not SIDES[row["side"]].stored
    config = llama_config(row["model"], 1).to_dict()
    flops = useful_flops(Work(**of_case["work"]), config, lora_rank(row["mode"]), online=online)
    result = {
        "pairs_per_s": of_case["pairs"] / seconds,
        "step_ms": 1e3 * seconds / len(row["step_s"]),
        "peak_gib": (row["cuda_peak_mib"] or row["peak_mib"]) / 2**10,
        "useful_tflops": flops / seconds / 1e12,
    }
    if ceiling:
        result["utilisation"] = result["useful_tflops"] / ceiling
    if row.get("kernels"):
        result["gemm_share"] = row["kernels"]["classes_ms"].get("gemm", 0.0) / row["kernels"]["step_ms"]
    return result


def _add_differences(case: Sequence[Figures]) -> None:
    """Compare the first step of each side with the median of all: one wrong side does not make the others wrong."""
    lengths = {len(row["first_logps"]) for row in case}
    if len(case) < 2:
        return
    if len(lengths) > 1:
        for row in case:
            row["logp_difference"] = math.inf
        return
    middle = [median(values) for values in zip(*(row["first_logps"] for row in case), strict=True)]
    norm = median(row["first_gradient_norm"] for row in case)
    for row in case:
        row["logp_difference"] = _largest(row["first_logps"], middle)
        row["gradient_difference"] = _largest([row["first_gradient_norm"]], [norm])


def _largest(found: Iterable[float], expected: Iterable[float]) -> float:
    """Largest relative difference; infinite where one is no number."""
    values = [abs(one - other) / abs(other) for one, other in zip(found, expected, strict=True)]
    return max(values) if not any(map(math.isnan, values)) else math.inf


def wrong(rows: Mapping[str, Figures]) -> list[str]:
    """One line for each row whose numbers are not those of the others, or of float64."""
    limits = {"logp_difference": LOGP_LIMIT, "gradient_difference": GRADIENT_LIMIT, **HEAD_LIMITS}
    said = {
        "logp_difference": "log-probs differ from the median of the sides by",
        "gradient_difference": "the norm of the gradients differs from the median of the sides by",
        "logp_error": "log-probs differ from float64 by",
        "gradient_error": "the gradient differs from float64 by",
    }
    return [
        f"{name}: {said[key]} {row[key]:.1e}, more than {limit:.0e}"
        for name, row in rows.items()
        for key, limit in limits.items()
        if not row.get(key, 0.0) <= limit
    ]


def tables(rows: Mapping[str, Figures]) -> list[Table]:
    """The tables that have rows."""
    made = [_ceilings(rows), _attention(rows), _heads(rows), *_steps(rows), _ratios(rows), _failed(rows)]
    return [table for table in made if table.rows]


def _ceilings(rows: Mapping[str, Figures]) -> Table:
    row = rows.get("ceilings", {"error": ""})
    cells = [] if "error" in row else [["", f"{row['copy_gb_per_s']:.0f}", f"{row['product_tflops']:.3g}"]]
    return Table("Ceilings", ["", "copy, GB/s", "bf16 product, TFLOP/s"], cells)


def _attention(rows: Mapping[str, Figures]) -> Table:
    columns: dict[str, Callable[[Figures], str]] = {
        "kernel": lambda row: row["kernel"],
        "tokens": lambda row: str(row["tokens"]),
        "forward, ms": lambda row: f"{row['forward_ms']:.3f}",
        "backward, ms": lambda row: f"{row['backward_ms']:.3f}",
        "TFLOP/s": lambda row: f"{row['forward_tflops']:.3g} / {row['backward_tflops']:.3g}",
    }
    found = {name.removeprefix("attention/"): row for name, row in rows.items() if row.get("kind") == "attention"}
    return _table("Attention of one layer over a batch as a tree", columns, found)


def _heads(rows: Mapping[str, Figures]) -> Table:
    columns: dict[str, Callable[[Figures], str]] = {
        "forward": lambda row: f"{row['forward_ms']:.2f}",
        "with backward": lambda row: f"{row['both_ms']:.2f}",
        "GiB": lambda row: "" if row["cuda_peak_mib"] is None else f"{row['cuda_peak_mib'] / 1024:.1f}",
        "error": lambda row: f"{row['logp_error']:.0e} / {row['gradient_error']:.0e}",
    }
    found = {name.removeprefix("head/"): row for name, row in rows.items() if row.get("kind") == "head"}
    title = "The head, in ms: model, rows, trained or frozen, whose; errors against float64"
    return _table(title, columns, found)


def _steps(rows: Mapping[str, Figures]) -> list[Table]:
    columns: dict[str, Callable[[Figures], str]] = {
        "pairs/s": lambda row: f"{row['pairs_per_s']:.3g}",
        "ms": lambda row: f"{row['step_ms']:.0f}",
        "GiB": lambda row: f"{row['peak_gib']:.1f}",
        "TFLOP/s": lambda row: f"{row['useful_tflops']:.3g}",
        "of peak": lambda row: f"{row['utilisation']:.0%}" if "utilisation" in row else "",
        "GEMM": lambda row: f"{row['gemm_share']:.0%}" if "gemm_share" in row else "",
        "Δ logp": lambda row: f"{row['logp_difference']:.0e}" if "logp_difference" in row else "",
        "Δ grad": lambda row: f"{row['gradient_difference']:.0e}" if "gradient_difference" in row else "",
    }
    found = []
    for case, names in _cases(rows).items():
        pairs = rows[names[0]]["pairs"]
        sides = {SIDES_ORDER[rows[name]["side"]]: rows[name] for name in names}
        of_sides = {row["side"]: row for _, row in sorted(sides.items())}
        found.append(_table(f"Step of {case}, {pairs} {'pair' if pairs == 1 else 'pairs'}", columns, of_sides))
    return found


SIDES_ORDER = {side: place for place, side in enumerate(SIDES)}


def _ratios(rows: Mapping[str, Figures]) -> Table:
    """Our default over TRL at its best, each with its reference in the step, and each with it computed before."""
    cells = []
    for case, names in _cases(rows).items():
        sides = {rows[name]["side"]: rows[name] for name in names}
        goal = GOALS[case.rpartition("/")[2]]
        for label, ours, theirs in ((case, "ours", "trl-best"), (f"{case}, stored", "ours-stored", "trl-best-stored")):
            if ours in sides and theirs in sides:
                speed, memory = (sides[ours][key] / sides[theirs][key] for key in ("pairs_per_s", "peak_gib"))
                gemm = sides[ours].get("gemm_share")
                of_peak = "" if gemm is None else f"{gemm:.2f} (≥ {GEMM_GOAL})"
                cells.append([label, f"{speed:.2f} (≥ {goal})", f"{memory:.2f} (≤ {MEMORY_GOAL})", of_peak])
    title = "Ours over trl-best, with goals; stored: both with a reference from before"
    return Table(title, ["", "pairs/s", "memory", "GEMM of step"], cells)


def _failed(rows: Mapping[str, Figures]) -> Table:
    cells = [[name, row["error"]] for name, row in rows.items() if "error" in row]
    return Table("Failed", ["", "error"], cells, texts=True)


def _table(title: str, columns: Mapping[str, Callable[[Figures], str]], rows: Mapping[str, Figures]) -> Table:
    cells = [[name, *(cell(row) for cell in columns.values())] for name, row in rows.items() if "error" not in row]
    return Table(title, ["", *columns], cells)


def as_text(table: Table) -> str:
    """The table for a terminal."""
    if table.texts:
        rows = (textwrap.fill(": ".join(row), COLUMNS, subsequent_indent="    ") for row in table.rows)
        return "\n".join([table.title, *rows])
    lines = [table.headings, *table.rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join([table.title, *("  ".join(_aligned(line, widths)).rstrip() for line in lines)])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = (cell for cell in line)
    return [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]


def as_markdown(table: Table) -> str:
    """The table for a page."""
    head = f"| {' | '.join(table.headings)} |\n|---|{'--:|' * (len(table.headings) - 1)}"
    return "\n".join([f"### {table.title}\n", head, *(f"| {' | '.join(line)} |" for line in table.rows)])
