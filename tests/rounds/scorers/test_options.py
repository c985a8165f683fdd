"""Options that name a scorer."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser, Namespace

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.scorers.function import FunctionScorer
from dpo_lightning.rounds.scorers.options import add_scorer_arguments, scorer_of, shown_scorer


def options(*words: str) -> Namespace:
    parser = ArgumentParser()
    add_scorer_arguments(parser)
    return parser.parse_args(words)


def test_one_scorer_is_loaded() -> None:
    with scorer_of(options("--function", "operator.gt"), "score") as found:
        assert isinstance(found, FunctionScorer)
    assert shown_scorer(options("--judge", "model")) == "judge model"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "score: name one scorer, got none: --function"),
        (("--function", "operator.gt", "--judge", "j"), "name one scorer, got --function and --judge"),
        (
            ("--function", "operator.gt", "--rubric", "r.txt"),
            "score --rubric: nothing reads it with --function: it is for --judge",
        ),
        (("--judge", "j", "--plain"), "--plain: nothing reads it with --judge: it is for --reward_model"),
    ],
)
def test_another_number_of_scorers_and_options_of_others_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        scorer_of(options(*words), "score")


def test_the_options_are_there_without_torch() -> None:
    program = "import sys; import dpo_lightning.rounds.scorers.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_command_that_takes_no_judge_does_not_name_it() -> None:
    named = []
    for shows in (True, False):
        parser = ArgumentParser()
        add_scorer_arguments(parser, shows_judge=shows)
        named.append("judge" in parser.format_help())
    assert named == [True, False]
