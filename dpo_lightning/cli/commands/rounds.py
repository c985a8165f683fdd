"""`dpo-lightning rounds`: rounds of sampling, scoring, pairing and training by one command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dpo_lightning.cli.loop.checks import check_rounds
from dpo_lightning.cli.loop.outcome import outcomes, table
from dpo_lightning.cli.loop.picture import draw
from dpo_lightning.cli.loop.running import call_in_process, command_line, run_rounds
from dpo_lightning.cli.loop.settings import read_config
from dpo_lightning.cli.loop.steps import plan
from dpo_lightning.cli.parsers.rounds import parser
from dpo_lightning.utils.files import check_writable
from dpo_lightning.utils.locks import alone
from dpo_lightning.utils.text import shown

_INTERRUPTED = 130  # as shells report SIGINT


def rounds(arguments: Sequence[str]) -> None:
    """Run the rounds of a config, or go on with them; a table and a picture of all of them end it.

    Raises:
        InputError: for a config that is refused, before anything is run, and for a step that fails.
    """
    options = parser().parse_args(arguments)
    config = read_config(options.config, options.out)
    out = Path(config.loop.out)
    check_writable("rounds --out", out, directory=True)
    planned = plan(config)
    check_rounds(config, planned)
    if options.print:
        for step in (step for each in planned for step in each.steps):
            print(shown(f"{step.place}:\n  {command_line(step)}"))
        return
    out.mkdir(parents=True, exist_ok=True)
    try:
        with alone(out / ".lock", f"rounds --out {out}"):
            run_rounds(planned, call_in_process)
    except KeyboardInterrupt:
        print(f"stopped: what is done is in {out}; the same command goes on from there", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    found = outcomes(planned)
    for line in table(found):
        print(shown(line))
    draw(found, out / "rounds.png")
    print(shown(f"policy in {planned[config.loop.number - 1].directory / 'model'}, picture in {out / 'rounds.png'}"))
