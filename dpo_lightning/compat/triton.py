"""Triton, which compiles on the machine it runs on and so may be installed and yet unable to work."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec


def runs(trial: Callable[[], object]) -> bool:
    """Return whether Triton is there and does what `trial` has it do; a build that cannot is named in a warning.

    Triton says in no other way whether it supports a GPU, finds a C compiler for its launcher and an assembler for its
    kernels. Its errors, and those of the compilers that it starts, have no common class.
    """
    if find_spec("triton") is None:
        return False
    try:
        trial()
    except Exception as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        warnings.warn(
            f"Triton cannot run here ({type(error).__name__}: {reason}): log-probs are computed by PyTorch, which is "
            "slower and otherwise the same; Triton needs a C compiler (CC) and a GPU that it supports",
            stacklevel=2,
        )
        return False
    return True
