"""Bounds of a step on a GPU, at the shapes of people's models: `python -m tests.gpu_path.bounds` prints what is traced.

They are a per cent above what was traced when they were written. A change that lowers a figure lowers its bound with
it; one that raises it needs a reason in its commit. Layers are alike, so two small traces tell what a whole one takes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

from tests.gpu_path.trace import SHAPES, Case, Traced, trace

FEWER, MORE = 1, 2  # layers of the two traces

PARTS = {
    "body": ("reference body", "policy body", "backward body"),
    "head": ("reference head", "policy head", "backward head"),
    "loss": ("loss",),
    "update": ("guard", "optimizer"),
    "rest": ("rest",),
}
"""Parts of a step, by phases of the trace. What raises their figures first:

* body: one operation more in a layer, 16 or 32 launches each; a copy of weights or activations in float32;
* head: one more pass over the logits, 1.2 GB at the fewest rows; a product made twice; a gradient of the weights that
  is written once a chunk;
* loss: anything done for each pair or token apart;
* update: a second norm, one more pass over the gradients, an optimizer in loops over tensors;
* rest: metrics computed in every step, or anything else between the parts.
"""


class Bound(NamedTuple):
    """The most that a part of the step may take.

    Attributes:
        launches: Kernels; a loop over tokens, pairs or tensors raises them.
        gigabytes: Elementwise traffic, each operand of each kernel once, in GB; a pass or a copy raises it.
        products: Matrix products, in 10^12 floating-point operations; what is computed again raises them.
    """

    launches: float
    gigabytes: float
    products: float


class Memory(NamedTuple):
    """The most memory of a step beside weights, batch and optimizer state, in GB.

    Attributes:
        kept: Kept for the backward; an activation that a layer keeps beside its products raises it.
        peak: In all; a float32 copy of logits or gradients raises it.
    """

    kept: float
    peak: float


CASES = {
    "1b full mixed hh 64": Case("1b", "hh", 64, "full", "mixed", trainer=(("gradient_clip_val", 1.0),)),
    "1b full mixed uf 16": Case("1b", "uf", 16, "full", "mixed"),
    "1b full mixed long 4": Case("1b", "long", 4, "full", "mixed"),
    "8b lora true uf 8": Case("8b", "uf", 8, "lora", "true"),
    "8b lora true long 2": Case("8b", "long", 2, "lora", "true"),
}

# The places where a step may wait for the device, each once. There are none: the guard reads its flag a step late.
WAITS: list[str] = []

# Copies that bring a batch to the device: its integers, and its floats.
COPIES = 2

BOUNDS: dict[str, dict[str, Bound]] = {
    "1b full mixed hh 64": {
        "body": Bound(3201, 412, 109),
        "head": Bound(547, 14.9, 12.5),
        "loss": Bound(77, 0.000594, 0),
        "update": Bound(227, 49.9, 0),
        "rest": Bound(10, 5.49e-07, 0),
    },
    "1b full mixed uf 16": {
        "body": Bound(3201, 373, 98.1),
        "head": Bound(774, 21.7, 19.7),
        "loss": Bound(77, 0.000874, 0),
        "update": Bound(162, 39.9, 0),
        "rest": Bound(10, 5.49e-07, 0),
    },
    "1b full mixed long 4": {
        "body": Bound(3201, 430, 113),
        "head": Bound(176, 7.96, 5.09),
        "loss": Bound(77, 0.000226, 0),
        "update": Bound(162, 39.9, 0),
        "rest": Bound(10, 5.49e-07, 0),
    },
    "8b lora true uf 8": {
        "body": Bound(7155, 506, 265),
        "head": Bound(345, 5.67, 14.8),
        "loss": Bound(77, 0.000437, 0),
        "update": Bound(38, 0.678, 0),
        "rest": Bound(10, 5.49e-07, 0),
    },
    "8b lora true long 2": {
        "body": Bound(7155, 589, 306),
        "head": Bound(103, 1.46, 3.82),
        "loss": Bound(77, 0.000113, 0),
        "update": Bound(38, 0.678, 0),
        "rest": Bound(10, 5.49e-07, 0),
    },
}

MEMORY: dict[str, Memory] = {
    "1b full mixed hh 64": Memory(33, 38.2),
    "1b full mixed uf 16": Memory(30.9, 36.2),
    "1b full mixed long 4": Memory(33.3, 38.6),
    "8b lora true uf 8": Memory(37.6, 38),
    "8b lora true long 2": Memory(43.8, 44.4),
}


def figures(traced: Traced) -> dict[tuple[str, str], float]:
    """Return the figures of a trace, by part and by name."""
    found = {("step", "kept"): float(traced.saved), ("step", "peak"): float(max(traced.peaks.values()))}
    for part, phases in PARTS.items():
        sums = [traced.phases[phase] for phase in phases if phase in traced.phases]
        found[part, "launches"] = float(sum(each.launches for each in sums))
        found[part, "gigabytes"] = sum(each.elementwise for each in sums) / 1e9
        found[part, "products"] = sum(each.flops for each in sums) / 1e12
    return found


@cache
def small(case: Case, layers: int) -> Traced:
    """Return the trace of a case with fewer layers; the same one for each test."""
    return trace(replace(case, layers=layers))


def extrapolated(case: Case, layers: int) -> dict[tuple[str, str], float]:
    """Return the figures of a case with so many layers, from the two small traces."""
    fewer, more = (figures(small(case, number)) for number in (FEWER, MORE))
    each = (layers - FEWER) / (MORE - FEWER)
    return {name: fewer[name] + each * (more[name] - fewer[name]) for name in fewer}


@cache
def whole(name: str) -> tuple[dict[str, Bound], Memory]:
    """Return what a whole model of a case takes."""
    case = CASES[name]
    found = extrapolated(case, SHAPES[case.shape]["num_hidden_layers"])
    parts = {part: Bound(*(found[part, each] for each in Bound._fields)) for part in PARTS}
    return parts, Memory(found["step", "kept"] / 1e9, found["step", "peak"] / 1e9)


def main() -> None:
    """Print the tables, as they stand above, of what is traced now and a per cent more."""
    print("BOUNDS: dict[str, dict[str, Bound]] = {")
    for name in CASES:
        print(f'    "{name}": {{')
        for part, bound in whole(name)[0].items():
            launches, gigabytes, products = (value * 1.01 for value in bound)
            print(f'        "{part}": Bound({launches:.0f}, {gigabytes:.3g}, {products:.3g}),')
        print("    },")
    print("}\n\nMEMORY: dict[str, Memory] = {")
    for name in CASES:
        kept, peak = (value * 1.01 for value in whole(name)[1])
        print(f'    "{name}": Memory({kept:.3g}, {peak:.3g}),')
    print("}")


if __name__ == "__main__":
    main()
