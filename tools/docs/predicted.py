"""The tables of a step on a GPU as its roofline has it, ours and TRL's: a part of the page on performance."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_CASES = {
    "1b full mixed hh 64": "1 B, all weights, HH-like, 64 pairs",
    "1b full mixed uf 16": "1 B, all weights, UltraFeedback-like, 16 pairs",
    "1b full mixed long 4": "1 B, all weights, long prompts, 4 pairs",
    "8b lora true uf 8": "8 B, LoRA, UltraFeedback-like, 8 pairs",
    "8b lora true long 2": "8 B, LoRA, long prompts, 2 pairs",
}
_LAYERS = {"1b full mixed hh 64": "1 B HH-like", "8b lora true uf 8": "8 B LoRA UltraFeedback-like"}

Case = Mapping[str, Any]
Rates = Mapping[str, float]


class Times(NamedTuple):
    """Milliseconds of a step, by what they are of; `memory` is that of everything before the optimizer."""

    products: float
    attention: float
    memory: float
    optimizer: float

    @property
    def step(self) -> float:
        """Return their sum."""
        return sum(self)


class Memory(NamedTuple):
    """Memory of a step in GB: weights with the optimizer's state, what is kept for the backward, and the peak."""

    held: float
    kept: float
    peak: float


def ours(case: Case, rates: Rates, *, fused: bool = True) -> Times:
    """Return the times of our step, with its layers compiled or as they are written."""
    parts = case["parts"].values()
    update = case["parts"]["update"]["elementwise_gb"]
    moved = sum(part["elementwise_gb"] for part in parts) - update
    moved -= saved(case, "elementwise") / 1e9 if fused else 0
    products = sum(part["products_tflop"] for part in parts)
    return _times(products, case["attention_tflop"], moved, update, rates)


def theirs(case: Case, rates: Rates) -> Times:
    """Return the times of TRL's step."""
    found = case["trl"]
    moved, update = found["elementwise_gb"], found["update_gb"]
    return _times(found["products_tflop"], found["attention_tflop"], moved, update, rates)


def _times(products: float, attention: float, moved: float, update: float, rates: Rates) -> Times:
    return Times(
        products / rates["products_tflop_per_s"] * 1e3,
        attention / rates["attention_tflop_per_s"] * 1e3,
        moved / rates["gb_per_s"] * 1e3,
        update / rates["gb_per_s"] * 1e3,
    )


def saved(case: Case, figure: str) -> float:
    """Return what compiled layers take less than layers as they are written, of all layers."""
    written, fused = (sum(count[figure] for count in case["layer"][form].values()) for form in _FORMS)
    return float(case["layers"] * (written - fused))


_FORMS = ("as_written", "compiled")


def our_memory(case: Case) -> Memory:
    """Return the memory of our step with compiled layers, whose forwards keep less.

    The peak is that of the backward's begin, when everything is kept.
    """
    found, less = case["memory"], saved(case, "kept") / 1e9
    return Memory(found["held_gb"], found["kept_gb"] - less, found["held_gb"] + found["peak_gb"] - less)


def their_memory(case: Case) -> Memory:
    """Return the memory of TRL's step."""
    found = case["trl"]
    return Memory(found["held_gb"], found["kept_gb"], found["held_gb"] + found["peak_gb"])


def predicted(results: Mapping[str, Any]) -> str:
    """Return the tables under what they assume."""
    rates = results["rates"]
    said = (
        f"**Predictions of {results['date']}, not measurements: no figure of these tables comes from a GPU.** They are "
        f"the time of the counted work at {rates['products_tflop_per_s']:.0f} TFLOP/s of bf16 products, "
        f"{rates['attention_tflop_per_s']:.0f} of attention and {rates['gb_per_s'] / 1000:.1f} TB/s of memory, as of "
        "one H200, one after the other, with every operand read and written once."
    )
    cases = [(words, results["cases"][name]) for name, words in _CASES.items() if name in results["cases"]]
    layer = "; ".join(_layer(words, results["cases"][name]["layer"]) for name, words in _LAYERS.items())
    beside = f"A layer takes, compiled and as it is written, forward twice and backward, beside products: {layer}."
    tables = "\n".join(table(lines) for lines in (_steps(cases, rates), _of_trl(cases, rates), _memory(cases)))
    return f"{_filled(said)}\n\n{tables}\n{_filled(beside)}\n"


def _steps(cases: Iterable[tuple[str, Case]], rates: Rates) -> Iterable[list[str]]:
    yield ["predicted, ms", *_TIMES, "launches", "step", "without fused layers", "pairs/s", "TRL's", "ratio"]
    for words, case in cases:
        times, trl = ours(case, rates), theirs(case, rates)
        launches = sum(part["launches"] for part in case["parts"].values()) - saved(case, "launches")
        whole = [f"{times.step:.0f}", f"{ours(case, rates, fused=False).step:.0f}"]
        a_second = [f"{case['pairs'] / each.step * 1e3:.3g}" for each in (times, trl)]
        yield [words, *_each(times), f"{launches:.0f}", *whole, *a_second, f"{trl.step / times.step:.2f}"]


_TIMES = ("products", "attention", "memory", "optimizer")


def _of_trl(cases: Iterable[tuple[str, Case]], rates: Rates) -> Iterable[list[str]]:
    yield ["predicted of TRL at its best, ms", *_TIMES, "launches", "step"]
    for words, case in cases:
        times = theirs(case, rates)
        yield [words, *_each(times), f"{case['trl']['launches']}", f"{times.step:.0f}"]


def _memory(cases: Iterable[tuple[str, Case]]) -> Iterable[list[str]]:
    yield ["predicted memory, GB", "held", "kept", "peak", "TRL's: held", "kept", "peak", "ratio"]
    for words, case in cases:
        mine, trl = our_memory(case), their_memory(case)
        yield [words, *_each(mine), *_each(trl), f"{mine.peak / trl.peak:.2f}"]


def _each(figures: Iterable[float]) -> list[str]:
    return [f"{figure:.1f}" for figure in figures]


def _layer(words: str, forms: Mapping[str, Any]) -> str:
    launches, sizes = (
        [sum(count[key] for count in forms[form].values()) for form in ("compiled", "as_written")]
        for key in ("launches", "elementwise")
    )
    compiled, written = (f"{size / 1e9:.1f} GB" for size in sizes)
    return f"{words} {compiled} instead of {written}, and {launches[0]} launches instead of {launches[1]}"


def _filled(text: str) -> str:
    return textwrap.fill(text, 120, break_on_hyphens=False)


def table(lines: Iterable[Iterable[str]]) -> str:
    """Return lines of cells, the headings first, as a table of Markdown."""
    head, *rows = ([*line] for line in lines)
    heading = f"| {' | '.join(head)} |\n|---|{'--:|' * (len(head) - 1)}\n"
    return heading + "".join(f"| {' | '.join(row)} |\n" for row in rows)
