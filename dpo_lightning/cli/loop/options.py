"""Options of a command in a config, as the words of its command line."""

from __future__ import annotations

from argparse import Action
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from dpo_lightning.cli.parsers import parser_of
from dpo_lightning.compat.argparse import actions_of
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import nearest, one_line

FILLED: Mapping[str, Mapping[str, str]] = {
    "generate": {
        "source": "rounds.policy is the first one, and each round continues with its own",
        "config": "the tokenizer and chat template of fit.data are taken",
        "prompts": "they are rounds.prompts",
        "prompt": "they are rounds.prompts",
        "out": "rounds.out is the directory",
        "json": "rows are written to a file anyway",
        "reference": "no step reads the reference's completions",
        "endpoint": "a server keeps the policy that it has loaded: run the steps by hand, and serve each round's",
        "model": "there is no server",
        "key_variable": "there is no server",
        "requests_at_once": "there is no server",
        "timeout": "there is no server",
    },
    "score": {"file": "the samples of the round are scored", "out": "rounds.out is the directory"},
    "pair": {
        "file": "the scored samples of the round are paired",
        "other": "delta needs two models' samples: pair them by hand",
        "out": "rounds.out is the directory",
    },
}
"""Options of each command that are not the user's in a loop, and why."""


def words_of(command: str, options: Mapping[str, Any]) -> list[str]:
    """Return options of a section as words: `samples: 4` is `--samples 4`, a bool is a flag, null is left out.

    Raises:
        InputError: for a name that the command does not have, or that the loop fills in.
    """
    known = {name: action for action in actions_of(parser_of(command)) for name in _names(action)}
    known.pop("help")
    words: list[str] = []
    for name, value in options.items():
        if name in FILLED[command]:
            raise InputError(f"{command}.{name}: the loop fills it in: {FILLED[command][name]}")
        if name not in known:
            close = nearest(str(name), [each for each in known if each not in FILLED[command]])
            remedy = f"; did you mean `{close}`?" if close else f"; dpo-lightning {command} --help lists them"
            raise InputError(f"{command}.{name}: no option of dpo-lightning {command}{remedy}")
        words += _words(f"{command}.{name}", name, known[name], value)
    return words


def check_words(command: str, words: list[str]) -> None:
    """Have the command's own parser read the words that it will get.

    Raises:
        InputError: with what the parser says.
    """
    parser = parser_of(command)

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{command}: {message}")

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(words)


def _names(action: Action) -> Iterator[str]:
    yield action.dest
    yield from (flag.removeprefix("--") for flag in action.option_strings if flag.startswith("--"))


def _words(place: str, name: str, action: Action, value: Any) -> list[str]:
    if value is None:
        return []
    if action.nargs == 0:  # a flag
        if not isinstance(value, bool):
            raise InputError(f"{place}: true or false, got {one_line(value, 80)}")
        return [f"--{name}"] if value else []
    if isinstance(value, bool | list | dict):
        raise InputError(f"{place}: a number or a text, got {one_line(value, 80)}")
    text = str(value)
    return [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]
