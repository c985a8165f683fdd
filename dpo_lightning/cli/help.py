"""Help of the family and of the Trainer's commands, without torch: from the keys that were read from their parser."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from dpo_lightning.cli.family import FAMILY, KEYS_OF
from dpo_lightning.cli.keys import MOST_USED, REQUIRED, Key, all_keys

_WIDTH = 80
_ALL = "--help-all"
_WORDS = ("-h", "--help", _ALL)
_SECTIONS = {
    "model": "what is trained, and how",
    "data": "what it is trained on",
    "trainer": "Lightning's Trainer",
    "": "the run",
}
_USES = {
    "fit": "dpo-lightning fit --config RUN.yaml [--KEY=VALUE ...]",
    **{
        name: f"dpo-lightning {name} --config RUN.yaml [--ckpt_path FILE] [--KEY=VALUE ...]"
        for name in ("validate", "test", "predict")
    },
}
_EXAMPLES = {
    "fit": (
        "dpo-lightning fit --config run.yaml",
        "dpo-lightning fit --config run.yaml --model.objective=SimPO",
        "dpo-lightning fit --config run.yaml --ckpt_path last",
    ),
    "validate": ("dpo-lightning validate --config run.yaml --ckpt_path checkpoints/last.ckpt",),
    "test": ("dpo-lightning test --config run.yaml --data.test_split=held_out.jsonl",),
    "predict": ("dpo-lightning predict --config run.yaml --ckpt_path checkpoints/last.ckpt",),
}


def asks_for_help(words: Sequence[str]) -> bool:
    """Return whether the words of a command ask for help that is here; that of a class is the parser's."""
    if any(word in _WORDS for word in words):
        return True
    return bool(words) and section_asked(words) is not None


def section_asked(words: Sequence[str]) -> str | None:
    """Return the section whose help is asked for, as with `--model.help` at the end, or before another flag.

    The keys of a class that is named, as with `--model=my.Module`, are not here.
    """
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        section = word.removeprefix("--").removesuffix(".help")
        if word == f"--{section}.help" and section in MOST_USED and following.startswith("-"):
            return None if _class_named(section, words) else section
    return None


def naming_the_class(words: Sequence[str]) -> list[str]:
    """Return the words of a command; where they name a class, `--model.help` is its help: the parser has to be told."""
    named = {f"--{section}.help": _class_named(section, words) for section in MOST_USED}
    return [f"{word}={named[word]}" if named.get(word) else word for word in words]


def _class_named(section: str, words: Sequence[str]) -> str | None:
    """Return the class that words put in the place of a section's own."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, is_there, value = word.partition("=")
        if flag == f"--{section}":
            return value if is_there else following
    return None


def family_help() -> str:
    """Return all commands, with a line for each."""
    lines = ["usage: dpo-lightning COMMAND [--config FILE] [--key=value ...]", ""]
    for purpose, commands in FAMILY.items():
        lines += [f"{purpose}:", *(f"  {name:<12}{text}" for name, text in commands.items()), ""]
    lines += [
        "dpo-lightning COMMAND --help      its options and an example",
        "dpo-lightning fit --help-all      every key; --model.help those of the module",
        "dpo-lightning fit --model.objective.help DPO     those of a class by its name",
        "dpo-lightning fit --config FILE --print_config   every key with its value",
        "dpo-lightning --version           what is installed",
    ]
    return "\n".join(lines)


def help_of(command: str, words: Sequence[str]) -> str:
    """Return the help of a command that takes keys: of a section or of every key where asked for, or short.

    The short one is that of the Trainer's commands.
    """
    keys = list(all_keys())
    section = section_asked(words)
    if _ALL in words or section is not None:
        every = tuple(each for each in _SECTIONS if each in KEYS_OF.get(command, _SECTIONS))
        wanted = every if section is None else (section,)
        uses = _USES.get(command) or f"dpo-lightning {command} --config RUN.yaml [options] [--KEY=VALUE ...]"
        return "\n".join([f"usage: {uses}", *_every_key(keys, wanted), "", *_further(command)])
    return "\n".join(_short(command, keys))


def _short(command: str, keys: Sequence[Key]) -> Iterator[str]:
    purpose = next(commands[command] for commands in FAMILY.values() if command in commands)
    yield f"usage: {_USES[command]}"
    yield from ("", f"{purpose[0].upper()}{purpose[1:]}.", "A config holds the keys below; a flag wins over it.")
    by_name = {each.name: each for each in keys}
    for section, names in MOST_USED.items():
        yield from ("", f"{section}, {_SECTIONS[section]}:")
        for name in names:
            yield from _entry(by_name[f"{section}.{name}"], lines=1)
    yield from ("", "examples:", *(f"  {each}" for each in _EXAMPLES[command]), "", *_further(command))


def _every_key(keys: Sequence[Key], sections: Sequence[str]) -> Iterator[str]:
    for section in sections:
        yield from ("", f"{section}, {_SECTIONS[section]}:".removeprefix(", "))
        for each in keys:
            if each.section == section:
                yield from _entry(each, lines=3)
                if len(each.classes) > 1:
                    yield from _wrapped(", ".join(each.classes), 12)


def _entry(key: Key, lines: int) -> Iterator[str]:
    """Yield a key with its default and what it takes, and below it what it is for."""
    head = f"--{key.name} (required)" if key.default == REQUIRED else f"--{key.name}={key.default}"
    yield "  " + textwrap.shorten(f"{head}  ({key.kind})", _WIDTH - 2, placeholder=" …")
    yield from _wrapped(f"{key.text}.", lines)


def _wrapped(text: str, lines: int) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, max_lines=lines, placeholder=" …"
    )


def _further(command: str) -> Iterator[str]:
    if command in KEYS_OF:
        yield f"dpo-lightning {command} --help     its own options"
        yield f"dpo-lightning {command} --help-all     every key, and the names of the classes"
        return
    yield f"dpo-lightning {command} --help-all     every key, and the names of the classes"
    yield f"dpo-lightning {command} --data.help    every key of data; also --model.help"
    yield f"dpo-lightning {command} --model.objective.help SimPO     settings of a class"
