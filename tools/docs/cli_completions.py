"""Makes the completion scripts of the command's shells with shtab."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator, Sequence

import shtab

from dpo_lightning.cli.family import FAMILY, KEYS_OF
from dpo_lightning.cli.keys import Key
from dpo_lightning.cli.parsers import all_parsers
from dpo_lightning.cli.parsers.completion import SHELLS
from dpo_lightning.compat.argparse import actions_of, leaves_of

# Keys and arguments whose values are paths.
_PATHS = {
    *("config", "ckpt_path", "source", "checkpoint", "html", "output", "out", "cache_dir", "model"),
    *("data.dataset", "data.val_split", "data.test_split", "data.tokenizer", "data.chat_template"),
    *("model.policy", "trainer.default_root_dir"),
}

_LONGEST = 60  # characters of a description


# readline hands `--key=value` to a completion as three words.
_BASH = """
_dpo_lightning() {
  local -a words=()
  local place=$COMP_CWORD index
  for index in "${!COMP_WORDS[@]}"; do
    if [[ ${COMP_WORDS[index]} != "=" ]]; then
      words+=("${COMP_WORDS[index]}")
    elif (( index < COMP_CWORD )); then
      (( place -= 1 ))
    elif (( index == COMP_CWORD )); then
      words+=("")
    fi
  done
  local -a COMP_WORDS=("${words[@]}")
  local COMP_CWORD=$place
  _shtab_dpo_lightning
}

complete -o bashdefault -F _dpo_lightning dpo-lightning
"""
# An option of zsh's `_arguments` that takes a value; with `=` behind its name, in the same word as well.
_ZSH = re.compile(r'^(  "\*?--[\w.]+)(\[.*\]:)', re.MULTILINE)


def scripts(keys: Sequence[Key]) -> Iterator[tuple[str, str]]:
    """Yield each shell with its script."""
    parser = _whole(keys)
    for shell in SHELLS:
        script = shtab.complete(parser, shell=shell)
        if shell == "bash":
            script += _BASH
        yield shell, _ZSH.sub(r"\1=\2", script) if shell == "zsh" else script


def _whole(keys: Sequence[Key]) -> argparse.ArgumentParser:
    """Return one parser with all commands, for their names alone: it parses nothing."""
    whole = argparse.ArgumentParser("dpo-lightning")
    whole.add_argument("--version", action="store_true", help="what is installed")
    commands = whole.add_subparsers()
    own = all_parsers()
    for name, text in (pair for each in FAMILY.values() for pair in each.items()):
        parents = [own[name]] if name in own else []
        added = commands.add_parser(name, help=text, parents=parents, add_help=not parents)
        for action in actions_of(added):
            if action.dest in _PATHS:
                _path(action)
        sections = KEYS_OF.get(name, () if name in own else KEYS_OF["plan"])
        for leaf in leaves_of(added):
            _add_keys(leaf, [each for each in keys if each.section in sections], with_settings=name == "fit")
    return whole


def _add_keys(parser: argparse.ArgumentParser, keys: Sequence[Key], *, with_settings: bool) -> None:
    """Add keys of a config, and where it is asked for the settings of the classes that they take."""
    if keys and "--config" not in {flag for each in actions_of(parser) for flag in each.option_strings}:
        _path(parser.add_argument("-c", "--config", help="a file with keys"))
    for each in keys:
        argument = parser.add_argument(f"--{each.name}", help=textwrap.shorten(each.text, _LONGEST, placeholder=" …"))
        if each.name in _PATHS:
            _path(argument)
        choices = [*each.classes, *_words(each.kind)]
        if choices:
            argument.choices = choices
        for setting in each.settings if with_settings else ():
            parser.add_argument(f"--{each.name}.{setting}", help=f"a setting of {each.name}")


def _words(kind: str) -> Iterator[str]:
    """Yield the values that a kind names word by word: true and false, and texts in quotes."""
    for word in kind.split(" or "):
        if word in ("true", "false", "null"):
            yield word
        elif word.startswith("'"):
            yield word.strip("'")


def _path(action: argparse.Action) -> None:
    action.complete = shtab.FILE  # type: ignore[attr-defined]
