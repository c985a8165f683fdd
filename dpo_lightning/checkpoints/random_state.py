"""The random numbers of a process as plain values, which a checkpoint can hold, and the seed that they came from."""

from __future__ import annotations

import os
import random
from typing import Any, cast

import numpy as np
import torch


def run_seed() -> int | None:
    """Return the seed that `seed_everything` has set last, which it leaves in the environment; None without one."""
    text = os.environ.get("PL_GLOBAL_SEED", "")
    return int(text) if text.isdecimal() else None


def random_state() -> dict[str, Any]:
    """State of the generators of Python, numpy and torch, on the CPU and on the current CUDA device."""
    kind, keys, *position = cast(tuple[Any, ...], np.random.get_state(legacy=True))
    version, internal, gauss = random.getstate()
    state = {
        "python": [version, torch.tensor(internal), gauss],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), *position],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Go on with the random numbers that come after `state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    kind, keys, *position = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
