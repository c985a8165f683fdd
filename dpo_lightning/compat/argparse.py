"""The arguments of argparse's parsers."""

from __future__ import annotations

import argparse


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments of a parser, and those of its subcommands after them.

    Touches `ArgumentParser._actions` and `_SubParsersAction`: argparse has no public way to list what was added. Where
    these change, the completion of a shell has no paths, and the page of commands no options.
    """
    found: list[argparse.Action] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found += actions_of(inner)
        else:
            found.append(action)
    return found
