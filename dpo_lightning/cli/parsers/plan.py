"""Arguments of `dpo-lightning plan`."""

from __future__ import annotations

from dpo_lightning.cli.commands.arguments import CommandParser
from dpo_lightning.utils.utilization import USUAL_UTILIZATION

_EXAMPLES = """\
examples:
  dpo-lightning plan --config run.yaml
  dpo-lightning plan --config run.yaml --gpu A100 --devices 8
  dpo-lightning plan --config run.yaml --model.policy=DIR   # a config.json

Settings of fit may follow (dpo-lightning fit --help). docs/scaling.md has the
formulas, and how they compare with measurements."""


def parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning plan",
        usage="dpo-lightning plan --config RUN.yaml [options] [--KEY=VALUE]",
        description="Tell memory, time and traffic of a run from its config alone: neither\n"
        "weights nor rows are loaded.",
        examples=_EXAMPLES,
    )
    parser.add_argument("--gpu", default="H100", help="GPU to plan for, by name; default: %(default)s")
    parser.add_argument("--devices", type=int, metavar="N", help="number of them; by default 1, 8 and 64 are shown")
    parser.add_argument(
        "--utilization",
        type=float,
        default=USUAL_UTILIZATION,
        metavar="SHARE",
        help="part of the GPU's peak that is reached; default: %(default)s",
    )
    for name in ("prompt", "completion"):
        parser.add_argument(
            f"--{name}_tokens", type=int, metavar="N", help=f"length of a {name}; default: the most that fits"
        )
    return parser
