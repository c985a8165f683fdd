"""`dpo-lightning rank`: completions of each prompt in the order of what they are worth."""

from __future__ import annotations

from collections.abc import Sequence

from dpo_lightning.cli.parsers.rank import parser
from dpo_lightning.cli.quiet import leave_out_noise
from dpo_lightning.rounds.ranking import ScoresOfFile, rank_file, rank_lines
from dpo_lightning.rounds.scorers.options import names_scorer, scorer_of
from dpo_lightning.utils.text import shown


def rank(arguments: Sequence[str]) -> None:
    """Write the rows of a file with their completions ordered; without a scorer, by the scores that they have.

    Raises:
        InputError: for a scorer that cannot be loaded, and a row that cannot be read or scored.
    """
    options = parser().parse_args(arguments)
    leave_out_noise()
    with scorer_of(options, "rank") if names_scorer(options) else ScoresOfFile() as scorer:
        rows = rank_file(options.file, options.out, scorer, best=options.best)
        for line in [*rank_lines(rows), *scorer.lines(rows)]:
            print(shown(line))
    print(shown(f"{'the best' if options.best else 'ranked rows'} in {options.out}"))
