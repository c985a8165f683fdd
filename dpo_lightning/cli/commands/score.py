"""`dpo-lightning score`: what completions are worth, as a column of the file that they are in."""

from __future__ import annotations

from collections.abc import Sequence

from dpo_lightning.cli.parsers.score import parser
from dpo_lightning.cli.quiet import leave_out_noise
from dpo_lightning.rounds.scorers.options import scorer_of
from dpo_lightning.rounds.scoring import score_file, score_lines
from dpo_lightning.utils.text import shown


def score(arguments: Sequence[str]) -> None:
    """Write the rows of a file with a score of each completion.

    Raises:
        InputError: for a scorer that cannot be loaded, and a row that cannot be read or scored.
    """
    options = parser().parse_args(arguments)
    leave_out_noise()
    with scorer_of(options, "score") as scorer:
        rows = score_file(options.file, options.out, scorer)
        for line in [*score_lines(rows), *scorer.lines(rows)]:
            print(shown(line))
    print(shown(f"scores in {options.out}"))
