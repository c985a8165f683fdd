"""Arguments of `dpo-lightning doctor`."""

from __future__ import annotations

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning doctor
  dpo-lightning doctor --model Qwen/Qwen2.5-0.5B-Instruct

What is wrong with data is said by another command: dpo-lightning inspect."""


def parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning doctor",
        description="Say what this installation and this machine can do: versions, devices,\n"
        "precision, kernels, extras; and of a model, whether the packed tree layout is\nexact for it.\n"
        "Exits 1 where something that was asked for does not work.",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "--model", metavar="NAME", help="directory or hub name of a model to load and to try the layout on"
    )
    parser.add_argument(
        "--need",
        action="append",
        default=[],
        metavar="NAME",
        help="something that must work, by its name in the list, as bf16, wandb or gpu; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    return parser
