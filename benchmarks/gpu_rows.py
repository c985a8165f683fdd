"""The rows of `gpu.py`, in the order in which they are run: what is measured of whom, and in which process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

MODES = {"tiny": ("full", "lora"), "1b": ("full",), "8b": ("lora",)}
"""What is trained of a model unless it is asked for otherwise."""

PRECISION = {"full": "bf16-mixed", "lora": "bf16-true"}

MAX_LENGTH = 8192

# Pairs of a step, which both libraries have the memory for on 140 GB.
PAIRS = {
    "1b": {"hh": 64, "uf": 16, "long": 4},
    "8b": {"hh": 32, "uf": 8, "long": 2},
    "tiny": {"hh": 4, "uf": 2, "long": 1},
}
PROFILES = tuple(PAIRS["1b"])

HEADS = ("ours", "ours-torch", "trl", "plain")
"""Ours as it is chosen, ours in PyTorch, TRL's chunked one, and logits in PyTorch."""
HEAD_ROWS = (4096, 32768)
_TINY_HEAD_ROWS = (64, 256)

GOALS = {"hh": 1.7, "uf": 1.35, "long": 1.9}
"""Pairs/s over TRL's at its best."""
MEMORY_GOAL, GEMM_GOAL = 0.7, 0.75


@dataclass(frozen=True)
class GpuSide:
    """One way to train a step.

    Attributes:
        library: `ours` or `trl`.
        rank: Its place in the order: a lower one is run before those of all models that have a higher one.
        what: In words.
        stored: Whether the reference is computed before the training.
        layout, head, layers, guarded: Our parts; a head of None is the default.
        foreach: AdamW loops over tensors; else it is fused.
        liger: Whether norms, RoPE and SwiGLU are Liger's, of policy and reference.
        flash: Flash attention: of ours None is torch's own, and `fa3` FlashAttention 3; of TRL's `sdpa` is SDPA's, and
            `package` that of flash-attn.
        checkpointing: TRL's.
        needs: A module without which the side is left out.
    """

    library: str
    rank: int
    what: str
    stored: bool = False
    layout: str = "tree"
    head: str | None = None
    layers: Literal["auto", "none"] = "auto"
    foreach: bool = False
    guarded: bool = True
    liger: bool = False
    flash: str | None = None
    checkpointing: bool = False
    needs: str | None = None


SIDES = {
    "ours": GpuSide("ours", 0, "all parts, as they are by default"),
    "trl-best": GpuSide("trl", 0, "no checkpointing, SDPA's flash kernel, Liger's layers", flash="sdpa", liger=True),
    "ours-stored": GpuSide("ours", 1, "its reference computed before", stored=True),
    "trl-best-stored": GpuSide(
        "trl", 1, "trl-best, its reference computed before", stored=True, flash="sdpa", liger=True
    ),
    "ours-torch-head": GpuSide("ours", 2, "the head in PyTorch", head="torch"),
    "ours-plain-layers": GpuSide("ours", 2, "layers that are not fused", layers="none"),
    "ours-liger": GpuSide("ours", 2, "Liger's kernels instead of fused layers", layers="none", liger=True),
    "ours-fa3": GpuSide("ours", 2, "FlashAttention 3", flash="fa3", needs="flash_attn_interface"),
    "ours-foreach": GpuSide("ours", 3, "AdamW in loops over tensors", foreach=True),
    "ours-padded": GpuSide("ours", 3, "padded rows", layout="padded"),
    "ours-unguarded": GpuSide("ours", 3, "no guard of the updates", guarded=False),
    "trl-plain": GpuSide("trl", 4, "no checkpointing, nothing else"),
    "trl-flash-attn": GpuSide(
        "trl", 4, "the package flash-attn, Liger's layers", flash="package", liger=True, needs="flash_attn"
    ),
    "trl": GpuSide("trl", 4, "its defaults", checkpointing=True),
}


class Row(NamedTuple):
    """A measurement: its name, the process that it is made in, its rank, and what is measured."""

    name: str
    process: str
    rank: int
    settings: dict[str, Any]


class Asked(NamedTuple):
    """What is to be measured."""

    models: Sequence[str]
    modes: Sequence[str] | None
    profiles: Sequence[str]
    sides: Sequence[str]
    kernels: bool = True


def left_out(sides: Sequence[str]) -> dict[str, str]:
    """Sides that lack a package here, and which."""
    needed = {name: SIDES[name].needs for name in sides}
    return {name: f"{module} is not installed" for name, module in needed.items() if module and not find_spec(module)}


def rows_of(asked: Asked) -> list[Row]:
    """All rows, the most important first; those of a process stand together."""
    rows = list(_kernel_rows(asked)) if asked.kernels else []
    rows += _step_rows(asked)
    ranks: dict[str, int] = {}
    for row in rows:
        ranks.setdefault(row.process, row.rank)
    order = {process: place for place, process in enumerate(sorted(ranks, key=ranks.__getitem__))}
    return sorted(rows, key=lambda row: order[row.process])


def _kernel_rows(asked: Asked) -> Iterator[Row]:
    yield Row("ceilings", "kernels", -1, {"kind": "ceilings", "model": asked.models[-1]})
    for model in asked.models:
        for profile in asked.profiles:
            pairs = PAIRS[model][profile]
            settings = {"kind": "attention", "model": model, "profile": profile, "pairs": pairs, "flash": None}
            yield Row(f"attention/{model}/{profile}", "kernels", -1, settings)
            if "ours-fa3" in asked.sides:
                name = f"attention/{model}/{profile}/fa3"
                yield Row(name, "kernels, FlashAttention 3", 2, {**settings, "flash": "fa3"})
    for place, count in enumerate(HEAD_ROWS):
        for model in asked.models:
            rows = _TINY_HEAD_ROWS[place] if model == "tiny" else count
            for trained in (True, False):
                for head in HEADS:
                    name = f"head/{model}/{rows}/{'trained' if trained else 'frozen'}/{head}"
                    settings = {"kind": "head", "model": model, "rows": rows, "trained": trained, "head": head}
                    yield Row(
                        name, "kernels" if place == 0 else "kernels, many rows", -1 if place == 0 else 3, settings
                    )


def _step_rows(asked: Asked) -> Iterator[Row]:
    for model in asked.models:
        for mode in asked.modes or MODES[model]:
            for side in asked.sides:
                for profile in asked.profiles:
                    case = {"model": model, "mode": mode, "profile": profile, "pairs": PAIRS[model][profile]}
                    process = f"{model}/{mode}/{side}"
                    name = f"{model}/{mode}/{profile}/{side}"
                    yield Row(name, process, SIDES[side].rank, {"kind": "step", **case, "side": side})
