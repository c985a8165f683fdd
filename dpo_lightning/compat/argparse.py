"""The arguments of argparse's parsers."""

from __future__ import annotations

import argparse


def leaves_of(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return the parsers of the subcommands of a parser, or itself where it has none.

    Touches `ArgumentParser._actions` and `_SubParsersAction`, as `actions_of` does, and is read with it.
    """
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    found = {id(each): each for action in inner for each in action.choices.values()}
    return [leaf for each in found.values() for leaf in leaves_of(each)] or [parser]


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
