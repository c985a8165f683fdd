"""Checks before the first step: words that a parser refuses, and a fit that cannot be built."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.data_of_config import data_of_config
from dpo_lightning.cli.loop.fits import check_fit
from dpo_lightning.cli.loop.options import check_words
from dpo_lightning.cli.loop.settings import LoopConfig
from dpo_lightning.cli.loop.steps import Round
from dpo_lightning.cli.main import cause_in_a_line
from dpo_lightning.cli.parsers import parser_of
from dpo_lightning.errors import InputError
from dpo_lightning.rounds.saved_policy import check_source
from dpo_lightning.rounds.scorers.options import check_scorer


def check_rounds(config: LoopConfig, rounds: Sequence[Round]) -> None:
    """Have each command's parser read its words, and `fit` build what it can without model and data.

    The fit of the second round is built too: its reference may be another one.

    Raises:
        InputError: for what is refused, naming the section.
    """
    check_fit(config.fit)
    check_source(config.loop.policy, "rounds.policy")
    for step in (step for each in rounds for step in each.steps if step.name != "fit"):
        check_words(step.words[0], step.words[1:])
    for step in (step for each in rounds for step in each.steps if step.name in ("score", "kl")):
        check_scorer(parser_of("score").parse_args(step.words[1:]), step.name)
    for each in rounds[:2]:
        _check_fit(each)


def _check_fit(each: Round) -> None:
    """Build the module and the data of a round's fit; neither is loaded."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "fit.yaml")
        file.write_text(yaml.safe_dump(dict(each.fit or {}), sort_keys=False, allow_unicode=True), encoding="utf-8")
        try:
            data_of_config(["--config", str(file)])
        except Exception as error:
            if (said := cause_in_a_line(error)) is None:
                raise
            raise InputError(f"fit of {each.directory.name}: {said.replace(str(file), 'fit')}") from error
