"""What the runs of `compare.py` say: speeds, ratios, and whether both sides computed the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.compare_sides import SIDES

LIMITS = {"fp32": 1e-5, "bf16": 1e-3}
"""Largest relative difference of the summed log-probs of a sequence between ours and TRL."""

Runs = dict[str, list[dict[str, Any]]]
"""The finished runs of each side that has any."""


def rates(run: dict[str, Any], batch_pairs: int, steps: int) -> dict[str, float]:
    """Pairs/s of a run: over all measured steps, in the median step, and with a reference computed beforehand.

    `steps` are all of the run, warm-up included: the reference was computed for their pairs.
    """
    seconds = sum(run["step_s"])
    measured = len(run["step_s"])
    reference = (run.get("precompute_s") or 0.0) * measured / steps
    return {
        "pairs_per_s": batch_pairs * measured / seconds,
        "pairs_per_s_median_step": batch_pairs / median(run["step_s"]),
        "pairs_per_s_with_reference": batch_pairs * measured / (seconds + reference),
    }


def memory(run: dict[str, Any]) -> float:
    """Peak MiB: the device's where there is one, and otherwise the process's."""
    return run["cuda_peak_mib"] or run["peak_mib"]


def summarise(case: dict[str, Any]) -> dict[str, Any]:
    """Medians of each side, and the ratios that the comparison is about."""
    runs = {
        name: finished for name, side in case["runs"].items() if (finished := [r for r in side if "error" not in r])
    }
    sides = {name: _medians(case, finished) for name, finished in runs.items()}
    for name, difference in differences(runs).items():
        sides[name].update(difference)
    return {"sides": sides, "ratios": ratios(case, runs, sides)}


def _medians(case: dict[str, Any], runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    per_run = [rates(run, case["batch_pairs"], case["steps"]) for run in runs]
    result = {name: median(run[name] for run in per_run) for name in per_run[0]}
    flops_per_pair = case["useful_flops"] / case["measured_pairs"]
    result["useful_gflops"] = 1e-9 * flops_per_pair * result["pairs_per_s"]
    if case.get("gemm_gflops"):
        result["of_gemm_peak"] = result["useful_gflops"] / case["gemm_gflops"]
    result["peak_mib"] = median(memory(run) for run in runs)
    return result


def differences(runs: Runs) -> dict[str, dict[str, float]]:
    """Of each of our sides, the largest relative difference to any TRL side, in the first run of each.

    All runs begin with the same batch, so the first log-probs compare everywhere, and the losses in the same order.
    """
    result: dict[str, dict[str, float]] = {}
    theirs = [name for name in runs if SIDES[name].library == "trl"]
    for name in runs:
        if SIDES[name].library == "trl":
            continue
        same_order = [other for other in theirs if SIDES[other].grouped == SIDES[name].grouped]
        result[name] = {
            **_largest("logp_difference", runs, name, theirs, "first_logps"),
            **_largest("loss_difference", runs, name, same_order, "losses"),
        }
    return result


def _largest(label: str, runs: Runs, name: str, others: Iterable[str], field: str) -> dict[str, float]:
    values = [_relative(runs[name][0][field], runs[other][0][field]) for other in others]
    return {label: max(values)} if values else {}


def _relative(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Largest relative difference; infinite where one side has more values, or one that is no number."""
    if len(ours) != len(theirs):
        return float("inf")
    values = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    return max(values) if not any(map(math.isnan, values)) else float("inf")


def disagreements(case: dict[str, Any]) -> list[str]:
    """One line for each of our sides whose log-probs are not TRL's."""
    limit = LIMITS[case["precision"]]
    return [
        f"{name}: log-probs differ from TRL's by {side['logp_difference']:.1e}, more than {limit:.0e}"
        for name, side in case["summary"]["sides"].items()
        if side.get("logp_difference", 0.0) > limit
    ]


def ratios(case: dict[str, Any], runs: Runs, sides: dict[str, dict[str, float]]) -> dict[str, float]:
    """Our fastest tree side, in the median, over TRL's fastest single run, its leanest, and our own other sides."""
    tree = _fastest(sides, [name for name in sides if _is(name, layout="tree", bare=False, lists=False)])
    if tree is None:
        return {}
    ours = sides[tree]
    result = {}
    trl = [run for name in runs if SIDES[name].library == "trl" for run in runs[name]]
    if trl:
        theirs = [rates(run, case["batch_pairs"], case["steps"]) for run in trl]
        for label in ("pairs_per_s", "pairs_per_s_with_reference"):
            result[f"{label}_over_fastest_trl"] = ours[label] / max(run[label] for run in theirs)
        result["peak_over_leanest_trl"] = ours["peak_mib"] / min(memory(run) for run in trl)
    padded = _fastest(sides, [name for name in sides if _is(name, layout="padded", bare=False, lists=False)])
    if padded is not None:
        result["tree_over_padded"] = ours["pairs_per_s"] / sides[padded]["pairs_per_s"]
    listed, of_pairs = (
        _fastest(sides, [name for name in sides if _is(name, layout="tree", bare=False, lists=lists)])
        for lists in (True, False)
    )
    if listed is not None and of_pairs is not None:
        result["list_over_pairs"] = sides[listed]["pairs_per_s"] / sides[of_pairs]["pairs_per_s"]
    bare = [name for name in sides if _is(name, bare=True) and SIDES[name].malloc == SIDES[tree].malloc]
    if bare:
        result["loop_over_bare_step"] = sides[bare[0]]["pairs_per_s"] / ours["pairs_per_s"]
    return result


def _is(name: str, **settings: Any) -> bool:
    side = SIDES[name]
    return side.library == "ours" and all(getattr(side, key) == value for key, value in settings.items())


def _fastest(sides: dict[str, dict[str, float]], names: Sequence[str]) -> str | None:
    return max(names, key=lambda name: sides[name]["pairs_per_s"], default=None)


# Key of a side's medians, heading, format.
_COLUMNS = (
    ("pairs_per_s", "pairs/s", ".2f"),
    ("pairs_per_s_with_reference", "+ ref.", ".2f"),
    ("useful_gflops", "GFLOP/s", ".0f"),
    ("of_gemm_peak", "of peak", ".0%"),
    ("peak_mib", "MiB", ".0f"),
    ("logp_difference", "Δ logps", ".0e"),
    ("loss_difference", "Δ loss", ".0e"),
)
_RATIOS = {
    "pairs_per_s_over_fastest_trl": "pairs/s over TRL's fastest run",
    "pairs_per_s_with_reference_over_fastest_trl": "the same, with TRL's reference computed beforehand counted",
    "peak_over_leanest_trl": "peak memory over TRL's leanest run",
    "tree_over_padded": "pairs/s of tree over padded",
    "list_over_pairs": "pairs/s of a prompt with its completions as one row over their pairs as rows",
    "loop_over_bare_step": "time of Lightning's loop over the bare step",
}


def side_table(name: str, case: dict[str, Any]) -> Table:
    """A row for each side; the last two columns are the largest relative differences to TRL."""
    title = f"{name}, {case['source']}, medians of up to {max(map(len, case['runs'].values()))}"
    result = Table(title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    result.add_column("", no_wrap=True)
    for _, heading, _ in _COLUMNS:
        result.add_column(heading, justify="right")
    for side, values in case["summary"]["sides"].items():
        result.add_row(side, *(format(values[key], form) if key in values else "" for key, _, form in _COLUMNS))
    return result


def ratio_table(case: dict[str, Any]) -> Table:
    """The ratios, in words."""
    result = Table(show_header=False, box=None)
    for key, value in case["summary"]["ratios"].items():
        result.add_row(_RATIOS[key], f"{value:.2f}")
    return result
