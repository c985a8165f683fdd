"""Arguments of `dpo-lightning import`."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser
from dpo_lightning.cli.ways_over.tools import NAMES

_EXAMPLES = """\
examples:
  dpo-lightning import trl dpo.yaml
  dpo-lightning import trl zephyr/config_full.yaml --out zephyr.yaml
  dpo-lightning import trl dpo.yaml --leave_out hub_token

Each line of the config names the fields that it comes of. What means something
else here, and what is left out, is printed. A field that has no equal here is
refused; --leave_out drops it. docs/from-trl.md has the fields of TRL."""


def parser() -> CommandParser:
    """Return the parser."""
    found = CommandParser(
        prog="dpo-lightning import",
        usage="dpo-lightning import TOOL CONFIG [--out run.yaml] [--leave_out FIELD]",
        description="Write a config from one of another tool, and say what differs here.",
        examples=_EXAMPLES,
    )
    found.add_argument("tool", metavar="TOOL", help=", ".join(NAMES))
    found.add_argument("config", type=Path, metavar="CONFIG", help="the other tool's config, YAML or JSON")
    found.add_argument("--out", type=Path, default=Path("run.yaml"), metavar="FILE", help="default: %(default)s")
    found.add_argument(
        "--leave_out",
        action="append",
        default=[],
        metavar="FIELD",
        help="a field of theirs to leave out; may be given several times",
    )
    return found
