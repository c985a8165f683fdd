"""Commands beside the Trainer's, each a function of its arguments."""

from collections.abc import Callable, Sequence

COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {}
