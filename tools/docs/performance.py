"""Writes the tables of docs/performance.md, from what the benchmarks measured: `python -m tools.docs.performance`."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu_report import as_markdown, derived, tables
from benchmarks.gpu_rows import SIDES, Asked, rows_of
from tools.docs.predicted import predicted, table

_ROOT = Path(__file__).parents[2]
DOCUMENT = _ROOT / "docs" / "performance.md"
CPU, GPU, PREDICTED = (
    _ROOT / "benchmarks" / "results" / name for name in ("compare.json", "gpu.json", "gpu_predicted.json")
)

_FULL, _FP32, _LORA, _LONG = (
    f"51m/cpu/{case}/8 pairs" for case in ("hh/full/bf16", "hh/full/fp32", "hh/lora/bf16", "long-completion/full/bf16")
)

_MARKS = "<!-- {}: written by python -m tools.docs.performance -->"


def document(text: str, cpu: Mapping[str, Any], gpu: Mapping[str, Any] | None) -> str:
    """Return the page `text` with its tables made anew; `gpu` is None where the call has run on no GPU."""
    numbers = json.loads(PREDICTED.read_text(encoding="utf-8"))
    parts = {"cpu": _cpu(cpu), "gpu": _not_run() if gpu is None else _gpu(gpu), "predictions": predicted(numbers)}
    for name, made in parts.items():
        begins, ends = re.escape(_MARKS.format(name)), f"<!-- end of {name} -->"
        text = re.sub(rf"(?s)(?<={begins}\n).*?(?={ends})", f"\n{made}\n".replace("\\", r"\\"), text)
    return text


def read() -> str:
    """Return the page as it should be."""
    gpu = json.loads(GPU.read_text(encoding="utf-8")) if GPU.is_file() else None
    return document(DOCUMENT.read_text(encoding="utf-8"), json.loads(CPU.read_text(encoding="utf-8")), gpu)


def _cpu(results: Mapping[str, Any]) -> str:
    full = results[_FULL]["summary"]["sides"]
    three = [full[name] for name in ("tree", "trl-grouped-malloc", "trl")]
    rates = [f"{side['pairs_per_s']:.2f}" for side in three]
    whole = [
        ["full fine-tuning, bf16", "dpo_lightning", "TRL, best settings", "TRL, defaults"],
        ["pairs a second", f"**{rates[0]}**", *rates[1:]],
        ["of the matrix-product peak, useful work only", *(f"{100 * side['of_gemm_peak']:.0f} %" for side in three)],
        ["peak memory of the process", *(f"{side['peak_mib'] / 1024:.1f} GiB" for side in three)],
    ]
    stored = full["trl-best"]
    lora, fp32, long = (results[name]["summary"]["sides"] for name in (_LORA, _FP32, _LONG))
    in_all = f"{stored['pairs_per_s']:.2f} in the steps, {stored['pairs_per_s_with_reference']:.2f} in all"
    cases = [
        ["pairs a second", "dpo_lightning", "TRL"],
        ["full fine-tuning, TRL's reference computed before training", rates[0], in_all],
        ["LoRA, online reference", _rate(lora, "tree-malloc"), _rate(lora, "trl-grouped-malloc")],
        [
            "LoRA, TRL's reference computed before training",
            _rate(lora, "tree-malloc"),
            _rate(lora, "trl-best") + " in the steps",
        ],
        ["full fine-tuning, fp32", _rate(fp32, "tree-malloc"), _rate(fp32, "trl-grouped-malloc")],
        [
            "long completions, TRL's reference computed before training",
            _rate(long, "tree-malloc"),
            _rate(long, "trl-best"),
        ],
    ]
    return f"{table(whole)}\n{table(cases)}"


def _rate(sides: Mapping[str, Any], name: str) -> str:
    return f"{sides[name]['pairs_per_s']:.2f}"


def _gpu(results: Mapping[str, Any]) -> str:
    about = results["about"]
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items() if value)
    where = about["machine"].get("gpu", about["machine"]["cpu"])
    commit = (about["commit"] or "unknown")[:12]
    said = textwrap.fill(f"Measured on {where} on {results['date']}, commit {commit}, with {versions}.", 120)
    missing = f"**Rows that were not run:** {_listed(results['not_run']) or 'none'}."
    out = [f"**Left out:** `{side}`, since {reason}." for side, reason in results.get("left_out", {}).items()]
    return "\n\n".join([said, *(as_markdown(table) for table in tables(derived(results))), missing, *out]) + "\n"


def _not_run() -> str:
    rows = rows_of(Asked(["1b", "8b"], None, ["hh", "uf", "long"], list(SIDES)))
    said = (
        f"**None of its {len(rows)} rows has run on a GPU:** the two ceilings; attention and heads of 1 B and 8 B; "
        f"steps of 1 B, all weights, and 8 B, LoRA, of the sides {_listed(SIDES)}."
    )
    return textwrap.fill(said, 120, break_on_hyphens=False) + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main() -> None:
    """Write the page."""
    DOCUMENT.write_text(read(), encoding="utf-8")


if __name__ == "__main__":
    main()
