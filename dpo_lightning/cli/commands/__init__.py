"""Commands beside the Trainer's, each a function of its arguments in a module of its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from keyword import iskeyword

_NAMES = (
    "cache",
    "completion",
    "data",
    "doctor",
    "evaluate",
    "export",
    "generate",
    "import",
    "init",
    "inspect",
    "pair",
    "pivots",
    "plan",
    "rank",
    "report",
    "rounds",
    "score",
    "sweep",
)


def module_of(name: str) -> str:
    """Return the name of a command's module and function, its own unless Python keeps that for itself."""
    return f"{name}_config" if iskeyword(name) else name


def _loaded_when_called(name: str) -> Callable[[Sequence[str]], None]:
    def command(arguments: Sequence[str]) -> None:
        getattr(import_module(f"{__name__}.{module_of(name)}"), module_of(name))(arguments)

    return command


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {name: _loaded_when_called(name) for name in _NAMES}
"""Commands by name; their modules, which import torch, are loaded when they are called."""
