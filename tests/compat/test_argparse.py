"""The arguments of argparse's parsers are those that were added."""

from __future__ import annotations

import argparse

from dpo_lightning.compat.argparse import actions_of


def test_arguments_of_subcommands_stand_behind_those_of_the_parser() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--first")
    actions = parser.add_subparsers()
    actions.add_parser("one", add_help=False).add_argument("--second")
    actions.add_parser("two", add_help=False).add_argument("third")
    assert [each.dest for each in actions_of(parser)] == ["first", "second", "third"]
