"""Commands beside the Trainer's, each a function of its arguments."""

from collections.abc import Callable, Sequence

from dpo_lightning.cli.commands.cache import cache
from dpo_lightning.cli.commands.data import data
from dpo_lightning.cli.commands.export import export
from dpo_lightning.cli.commands.generate import generate
from dpo_lightning.cli.commands.inspect import inspect
from dpo_lightning.cli.commands.plan import plan

COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "cache": cache,
    "data": data,
    "export": export,
    "generate": generate,
    "inspect": inspect,
    "plan": plan,
}
