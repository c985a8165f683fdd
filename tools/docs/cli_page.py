"""Writes the page of commands and keys."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpo_lightning.cli.family import FAMILY
from dpo_lightning.cli.keys import Key
from dpo_lightning.cli.parsers import all_parsers
from dpo_lightning.compat.argparse import actions_of

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

_INTRODUCTION = """\
# The command line

Every command and every key, as the parser has them. Written by `python -m tools.docs.cli`;
`tests/tools/docs/test_cli.py` holds it up to date.

`dpo-lightning COMMAND --help` (or `dpo-lightning help COMMAND`) shows the same in the terminal, at once. What a class
takes is shown by `dpo-lightning fit --model.objective.help DPO`; [objectives.md](objectives.md) and
[formats.md](formats.md) have all of them.

TAB completes commands, keys, names of classes and files after one of these lines, at the end of `~/.bashrc`, of
`~/.zshrc` (after `compinit`), or of `~/.config/fish/config.fish`:

```bash
eval "$(dpo-lightning completion bash)"
```

```zsh
eval "$(dpo-lightning completion zsh)"
```

```fish
dpo-lightning completion fish | source
```

`dpo-lightning --version` names what a bug report needs, `dpo-lightning doctor` what this machine can do. A command
exits 0 on success, 1 on wrong input or a run that was stopped by an error, 2 on a wrong key, 130 after Ctrl-C and 143
after SIGTERM; `inspect` exits 3 where the gravest finding is a warning, and 4 for an error.
"""

_KEYS = """\
## Keys

A key goes into a config for `--config`, `data: {max_length: 512}`, or onto the command line, `--data.max_length=512`,
where it wins. A later `--config` wins over an earlier one. `dpo-lightning fit --config FILE --print_config` shows all
of them with their values. `fit`, `validate`, `test`, `predict` and `plan` take every key, `inspect` and `data` those of
the data. A key that is not known is refused with the nearest one.
"""

_SECTIONS = {
    "": "The run",
    "model": "`model`: what is trained, and how",
    "data": "`data`: what it is trained on",
    "trainer": "`trainer`: Lightning's Trainer",
}


def page(keys: Sequence[Key]) -> str:
    """Return the page in Markdown."""
    parts = [_INTRODUCTION, "## Commands\n", *_commands(), _KEYS]
    for section, title in _SECTIONS.items():
        parts += [f"### {title}\n", _table([each for each in keys if each.section == section])]
    return "\n".join(parts)


def _commands() -> Iterator[str]:
    parsers = all_parsers()
    for purpose, commands in FAMILY.items():
        for name, text in commands.items():
            yield f"### `{name}`\n\n{text[0].upper()}{text[1:]} ({purpose}).\n"
            if name in parsers:
                yield f"```text\n{_usage(parsers[name])}\n```\n"
                yield from _options(parsers[name])


def _usage(parser: argparse.ArgumentParser) -> str:
    return " ".join(parser.format_usage().removeprefix("usage: ").split())


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    rows = [
        f"| `{_written(each)}` | {_cell((each.help or '') % {'default': each.default})} |"
        for each in actions_of(parser)
        if each.dest not in ("help", argparse.SUPPRESS) and each.help != argparse.SUPPRESS
    ]
    if rows:
        yield "\n".join(["| option | |", "|---|---|", *dict.fromkeys(rows)]) + "\n"


def _written(action: argparse.Action) -> str:
    """Return an option with its value, as it is typed."""
    value = str(action.metavar or action.dest.upper())
    if not action.option_strings:
        return value
    return action.option_strings[0] if action.nargs == 0 else f"{action.option_strings[0]} {value}"


def _table(keys: Sequence[Key]) -> str:
    rows = [f"| `{each.name}` | {_cell(each.kind)} | `{each.default}` | {_cell(_said(each))} |" for each in keys]
    return "\n".join(["| key | takes | default | |", "|---|---|---|---|", *rows]) + "\n"


def _said(key: Key) -> str:
    if not key.classes or len(key.classes) < 2:
        return key.text
    return f"{key.text}. Names: {', '.join(key.classes)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
