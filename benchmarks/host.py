"""What a training step costs the host beside its launches: the time a GPU waits for where it is the faster of both.

    python -m benchmarks.host                           # 64 pairs of each profile, a model of 16 layers
    python -m benchmarks.host --pairs 8 --layers 32
    python -m benchmarks.host --profile hh --steps 3    # does it work here?

Kernels are stubs: the model's forward and backward, and the attention of each layer. What is left is Python: reading
rows, collating, moving the batch, the driver of the attention, the mask's rule, the switch to the reference, the loss,
the callbacks and Lightning's loop. Small operations on tensors are among it (the loss, its metrics, the norm, keys that
are gathered): they are noted in one step and called again by themselves, and `launches` is what they take then, with a
small kernel each; the Python that calls them is the host's. Process time of one thread, so that other programs count
little; medians of steps. Prints a table and writes `benchmarks/results/host.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.environment import describe
from benchmarks.host_parts import measured_parts
from benchmarks.host_stubs import Shape
from dpo_lightning.utils.files import replaced

HERE = Path(__file__).resolve().parent

PROFILES = {"hh": (124, 41, 51), "uf": (200, 300, 280), "long": (3000, 300, 300)}
"""Tokens of prompt, chosen and rejected completion."""

IN_A_STEP = ("loader", "to device", "attention", "training_step", "guard", "resume", "callbacks", "Lightning")
"""Parts of a step of full fine-tuning, which the sum takes; others are within these, or of other settings."""

SUMS = ("step", "launches", "beside launches")

LAUNCHES = ("launches of the loop", "launches of attention")
"""Operations on tensors within these parts, called once more by themselves: a GPU runs each behind a launch."""

GOAL_MS = 5.0
"""Most that 64 pairs of HH may cost."""


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    shapes = {name: Shape(PROFILES[name], arguments.pairs, arguments.layers) for name in arguments.profile}
    parts = {name: measured_parts(shape, arguments.steps) for name, shape in shapes.items()}
    results = {
        **describe(),
        "pairs": arguments.pairs,
        "layers": arguments.layers,
        "steps": arguments.steps,
        "goal_ms": GOAL_MS,
        "ms": {name: with_sums(found) for name, found in parts.items()},
    }
    with replaced(arguments.output) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    Console().print(table(results))


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Host cost of a step.")
    parser.add_argument("--profile", nargs="+", choices=PROFILES, default=[*PROFILES])
    parser.add_argument("--pairs", type=int, default=64, help="pairs of a micro-batch (default 64)")
    parser.add_argument("--layers", type=int, default=16, help="layers of the model (default 16)")
    parser.add_argument("--steps", type=int, default=30, help="steps that are measured (default 30)")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "host.json")
    return parser.parse_args(given)


def in_a_step(parts: dict[str, float]) -> float:
    """Milliseconds of all parts of a step of full fine-tuning."""
    return sum(parts[name] for name in IN_A_STEP)


def with_sums(parts: dict[str, float]) -> dict[str, float]:
    """The parts of a step, their sum, how much of it operations on tensors are, and what is left."""
    step, launches = in_a_step(parts), sum(parts[name] for name in LAUNCHES)
    return {**parts, "step": step, "launches": launches, "beside launches": step - launches}


def table(results: dict[str, Any]) -> Table:
    profiles = results["ms"]
    made = Table("part", *profiles, title=f"ms a step, {results['pairs']} pairs, {results['layers']} layers")
    names = [name for name in next(iter(profiles.values())) if name not in SUMS]
    for name in (*(each for each in names if each in IN_A_STEP), *SUMS):
        made.add_row(name, *(f"{parts[name]:.2f}" for parts in profiles.values()))
    made.add_section()
    for name in (each for each in names if each not in IN_A_STEP):
        made.add_row(name, *(f"{parts[name]:.2f}" for parts in profiles.values()))
    made.caption = f"the goal is {results['goal_ms']:g} ms for 64 pairs of hh, launches aside"
    return made


if __name__ == "__main__":
    main()
