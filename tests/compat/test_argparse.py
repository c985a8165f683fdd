"""The arguments of argparse's parsers are those that were added."""

from __future__ import annotations

import argparse

from dpo_lightning.compat.argparse import actions_of, leaves_of


def test_arguments_of_subcommands_stand_behind_those_of_the_parser() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--first")
    actions = parser.add_subparsers()
    one, two = (actions.add_parser(name, add_help=False) for name in ("one", "two"))
    one.add_argument("--second")
    two.add_argument("third")
    assert [each.dest for each in actions_of(parser)] == ["first", "second", "third"]
    assert leaves_of(parser) == [one, two]
    assert leaves_of(one) == [one]
