"""Options of a section become the words of a command, as its parser reads them."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.loop.options import FILLED, check_words, words_of
from dpo_lightning.cli.parsers import parser_of
from dpo_lightning.compat.argparse import actions_of
from dpo_lightning.errors import InputError


def test_words_are_what_the_parser_reads():
    words = words_of("generate", {"samples": 3, "temperature": 0.5, "plain": True, "top_p": None})
    assert words == ["--samples", "3", "--temperature", "0.5", "--plain"]
    read = parser_of("generate").parse_args(["model", *words])
    assert (read.samples, read.temperature, read.plain, read.top_p) == (3, 0.5, True, 1.0)
    assert words_of("pair", {"keep_cut": False}) == []
    assert words_of("score", {"label": -1}) == ["--label=-1"]


@pytest.mark.parametrize(
    ("command", "options", "line"),
    [
        ("generate", {"sampels": 3}, "generate.sampels: no option of dpo-lightning generate; did you mean `samples`?"),
        ("generate", {"out": "x"}, "generate.out: the loop fills it in: rounds.out is the directory"),
        ("generate", {"endpoint": "http://x"}, "generate.endpoint: the loop fills it in: a server keeps the policy"),
        ("generate", {"plain": "yes"}, "generate.plain: true or false, got yes"),
        ("generate", {"samples": [1, 2]}, "generate.samples: a number or a text, got [1, 2]"),
        ("generate", {"help": True}, "generate.help: no option"),
        ("pair", {"other": "x"}, "pair.other: the loop fills it in: delta needs two models' samples"),
        ("score", {"quux": 1}, "score.quux: no option of dpo-lightning score; dpo-lightning score --help lists them"),
    ],
)
def test_what_is_no_option_is_refused(command, options, line):
    with pytest.raises(InputError) as refused:
        words_of(command, options)
    assert line in str(refused.value)


def test_the_parser_of_the_command_has_the_last_word():
    check_words("generate", ["model", "--samples", "3"])
    with pytest.raises(InputError, match="generate: argument --samples: invalid int value: 'many'"):
        check_words("generate", ["model", "--samples", "many"])
    with pytest.raises(InputError, match="pair: argument --how: invalid choice: 'worst'"):
        check_words("pair", ["file", "--out", "x", "--how", "worst"])


@pytest.mark.parametrize("command", FILLED)
def test_what_is_filled_in_is_an_option(command):
    assert FILLED[command].keys() <= {action.dest for action in actions_of(parser_of(command))}
