"""`dpo-lightning import`: a config of another tool as one of ours."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dpo_lightning.cli.config_files import check_new_config
from dpo_lightning.cli.parsers.import_config import parser
from dpo_lightning.cli.quiet import leave_out_noise
from dpo_lightning.cli.ways_over.conversion import convert
from dpo_lightning.cli.ways_over.files import read_config, write_config
from dpo_lightning.cli.ways_over.told import table
from dpo_lightning.cli.ways_over.tools import NAMES, tool_named
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import nearest, shown


def import_config(arguments: Sequence[str]) -> None:
    """Write the config, tell what differs, and print what comes next.

    Raises:
        InputError: for a tool that is none, a config that cannot be read, fields that are unknown or have no equal
            here, and an output that is there already.
    """
    options = parser().parse_args(arguments)
    out: Path = options.out
    if options.tool not in NAMES:
        close = nearest(options.tool, NAMES)
        remedy = f"did you mean {close}?" if close else f"there are {', '.join(NAMES)}"
        raise InputError(f"import: no tool {options.tool}; {remedy}")
    check_new_config(out, "import --out")
    leave_out_noise()
    tool = tool_named(options.tool)
    draft = convert(tool, read_config(options.config), f"config {options.config}", options.leave_out)
    heading = [
        f"From {options.config.name}, a config of {tool.title}: each line names the fields of theirs that it comes of.",
        "docs/cli.md has all keys, dpo-lightning fit --help the most used.",
    ]
    beside = write_config(out, draft.tree, heading, draft.beside)
    said = f"{', '.join(map(str, [out, *beside]))}:"
    print(shown("\n".join([said, *table(tool, draft, options.leave_out)])), file=sys.stderr)
    config = shlex.quote(str(out))
    print(f"next: dpo-lightning inspect --config {config}     what is in the data")
    print(f"      dpo-lightning fit --config {config}")
