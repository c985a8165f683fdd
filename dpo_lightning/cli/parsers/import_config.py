"""Arguments of `dpo-lightning import`."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser
from dpo_lightning.cli.ways_over.tools import NAMES

_EXAMPLES = """\
examples:
  dpo-lightning import trl dpo.yaml
  dpo-lightning import trl recipes/zephyr-7b-beta/dpo/config_full.yaml --out zephyr.yaml
  dpo-lightning import axolotl examples/qwen2/dpo.yaml --out qwen2.yaml
  dpo-lightning import llamafactory qwen3_lora_dpo.yaml --leave_out fp8

Each line of the config names the fields that it comes of. What means something
else here, and what is left out, is printed. A field that has no equal here is
refused; --leave_out drops it. docs/from-trl.md, from-axolotl.md and
from-llamafactory.md have all fields."""


def parser() -> CommandParser:
    """Return the parser."""
    found = CommandParser(
        prog="dpo-lightning import",
        usage="dpo-lightning import TOOL CONFIG [--out run.yaml] [--leave_out FIELD]",
        description="Write a run's config from one of another tool, and say what means something else here.",
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
