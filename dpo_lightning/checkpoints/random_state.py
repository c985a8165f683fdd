"""The random numbers of a process as plain values, which a checkpoint can hold, and the seed that they came from."""

from __future__ import annotations

import os
import random
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor


def run_seed() -> int | None:
    """Return the seed that `seed_everything` has set last, which it leaves in the environment; None without one."""
    text = os.environ.get("PL_GLOBAL_SEED", "")
    return int(text) if text.isdecimal() else None


class RandomNumbers(NamedTuple):
    """State of the generators of Python, numpy and torch, on the CPU and on the current CUDA device, as each gives it.

    It is taken twice a step, and made plain where it is saved: that takes longer.
    """

    python: Any
    numpy: Any
    torch: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls) -> RandomNumbers:
        """Take the states, which no later draw changes."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def plain(self) -> dict[str, Any]:
        """Return them as a checkpoint holds them."""
        kind, keys, *position = cast(tuple[Any, ...], self.numpy)
        version, internal, gauss = self.python
        state = {
            "python": [version, torch.tensor(internal), gauss],
            "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), *position],
            "torch": self.torch,
        }
        return state if self.cuda is None else {**state, "cuda": self.cuda}


def random_state() -> dict[str, Any]:
    """Return the state of all generators in the plain form of `RandomNumbers`."""
    return RandomNumbers.now().plain()


def set_random_state(state: dict[str, Any]) -> None:
    """Go on with the random numbers that come after `state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    kind, keys, *position = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
