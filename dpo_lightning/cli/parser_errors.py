"""The parser's messages as one line, with the nearest right key."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import pydoc
import re
from collections.abc import Iterable, Sequence
from typing import Any, Optional, Union, get_args, get_origin

from lightning.pytorch import Trainer

import dpo_lightning
from dpo_lightning import FrozenCopy, PreferenceDataModule, PreferenceModule
from dpo_lightning.cli.class_names import classes_of, fitting_names, is_own
from dpo_lightning.cli.family import NAMES
from dpo_lightning.cli.other_names import KEYS, LOSSES, OBJECTS, here
from dpo_lightning.cli.parsers import command_of_flag
from dpo_lightning.compat.jsonargparse import (
    CALLABLE,
    CLASS,
    COMMAND,
    GIVEN,
    GOT,
    GOT_MADE,
    HELP,
    KEY,
    MADE,
    MISFIT,
    REQUIRED,
    SCAFFOLD,
    SUBCLASS_HELP,
    UNKNOWN_CLASS,
    UNKNOWN_KEY,
    UNKNOWN_OPTION,
    WEAK,
    WRONG_CLASS,
    WRONG_KIND,
)
from dpo_lightning.utils.kinds import in_words
from dpo_lightning.utils.text import nearest, one_line

_PROCESS = {"seed_everything": Union[bool, int], "torch_threads": Optional[int]}
_SECTIONS = {"model": PreferenceModule, "data": PreferenceDataModule}


def explain(message: str, keys: Iterable[str], classes: Iterable[str]) -> str:
    """Shorten a parser message to the key and what is wrong with it, and suggest what may have been meant.

    Args:
        message: The parser's message, possibly nested over many lines.
        keys: Every key that the command accepts.
        classes: Short names of the classes that a value can name.
    """
    path, class_path, complaint = _innermost(message)
    classes = list(classes)
    place = ".".join(path)
    if match := UNKNOWN_OPTION.search(complaint):
        known = _elsewhere(path, match) or _suggest(match["name"], _arguments(class_path), "its keys are")
        return f"unknown key `{_joined(path, match)}`{known}"
    if match := UNKNOWN_KEY.search(complaint):
        near = _arguments(class_path) if path else keys
        known = _elsewhere(path, match) or _suggest(match["name"], near) or _section(match["name"], near)
        known = known or _flag(match["name"], path)
        return f"unknown key `{_joined(path, match)}`{known}"
    if match := COMMAND.search(complaint):
        start = "give a command" if match["name"] is None else f"unknown command `{match['name']}`"
        return start + _suggest(match["name"] or "", NAMES, "there are")
    if match := REQUIRED.search(complaint):
        return _required(match["names"], path)
    said = (
        _wrong_items(message, complaint, class_path, path)
        or _about_a_class(complaint, class_path, path, classes)
        or _wrong_kind(message, complaint, class_path, path)
    )
    return f"{place}: {said or GOT_MADE.sub('', complaint)}" if place else complaint


def _required(names: str, path: Sequence[str]) -> str:
    """Name the keys that are missing, as configs have them."""
    keys = [".".join([*path, name.split(".", 1)[-1]]) for name in names.split(", ")]
    return f"nothing gives {' and '.join(sorted(keys))}: write it in a config for --config, or as a flag"


def _about_a_class(complaint: str, class_path: str | None, path: Sequence[str], classes: Sequence[str]) -> str | None:
    """Say what is wrong with the name of a class; None of a complaint about something else."""
    if match := MISFIT.search(complaint):
        return f"{next(filter(None, match.groups()))} does not fit here{_fitting(class_path, path, classes)}"
    match = UNKNOWN_CLASS.search(complaint) or WRONG_CLASS.search(complaint)
    if match is None:
        return None
    if match["name"].rpartition(".")[2] in classes:
        return f"{match['name']} does not fit here{_fitting(class_path, path, classes)}"
    return _no_class(match["name"] or "''", class_path, path, classes)


def _wrong_items(message: str, complaint: str, class_path: str | None, path: Sequence[str]) -> str | None:
    """Say which keys the items of a list have that are mappings of one kind, such as the sources of a run.

    The parser takes a text among them for the name of a class, a module or a file, and complains that it is none.
    """
    hint = _hint_of(class_path, path)
    lists = [each for each in get_args(hint) if get_origin(each) is list]
    in_lists = (each for inner in lists for each in classes_of(inner))
    kinds = [each for each in in_lists if dataclasses.is_dataclass(each) and not each.__subclasses__()]
    if not kinds:
        return None
    got = _given(message, complaint)
    said = "" if got is None else f", got {one_line(got, 80) or repr(got)}"
    keys = ", ".join(field.name for field in dataclasses.fields(kinds[0]))
    return f"expected {in_words(hint)}{said}; the keys of a {kinds[0].__name__} are {keys}"


def _wrong_kind(message: str, complaint: str, class_path: str | None, path: Sequence[str]) -> str | None:
    """Say all that an argument takes, and what it got; None where its type is not known.

    The parser's complaint is about the first of the types alone.
    """
    hint = _PROCESS.get(".".join(path)) or _hint_of(class_path, path)
    if hint in (None, Any) or not WRONG_KIND.search(complaint):
        return None
    got = _given(message, complaint)
    said = f"expected {in_words(hint)}" + ("" if got is None else f", got {one_line(got, 80) or repr(got)}")
    return said + ((here(got, OBJECTS) or "") if got else "")


def _given(message: str, complaint: str) -> str | None:
    """Return the value that a complaint is about: at its end, or in a line behind it that is not of an outer key."""
    if got := GOT.search(complaint):
        return got["value"]
    depth = 0
    lines = iter(message.splitlines())
    for line in lines:
        if KEY.search(line):
            depth = len(line) - len(line.lstrip())
        if complaint in line:
            break
    given = next(filter(None, map(GIVEN.fullmatch, lines)), None)
    if given is None or (len(given["indent"]) <= depth and depth):
        return None
    return GOT.sub("", given["value"])


def _innermost(message: str) -> tuple[list[str], str | None, str]:
    """The keys and the class on the way to the first complaint, and the complaint."""
    path: list[str] = []
    class_path = weak = None
    for raw in message.splitlines():
        line = raw.strip().removeprefix("- ")
        if match := CALLABLE.match(line):
            line, class_path = match["rest"], _made_by(message)
        if match := KEY.match(line) or HELP.match(line):
            path += match["key"].split(".")
            line = match["rest"]
        if match := CLASS.search(line):
            class_path = match["path"]
        elif class_path is None and WEAK.match(line):
            weak = weak or line  # of another of the types that the argument takes
        elif line and not SCAFFOLD.match(line) and not (weak and SUBCLASS_HELP.match(line)):
            return path, class_path, line
    return path, class_path, weak or one_line(message, 1000)


def _made_by(message: str) -> str | None:
    """Return the class of an object that is made later, such as the optimizer: only the value at the end names it."""
    match = MADE.search(message)
    return match["path"] if match else None


def _no_class(name: str, class_path: str | None, path: Sequence[str], classes: Sequence[str]) -> str:
    """Say that there is no such class, and which the argument takes, as far as its type tells."""
    hint = _hint_of(class_path, path)
    hinted = tuple(classes_of(hint))
    if own := tuple(filter(is_own, hinted)):
        classes = _subclasses(own, classes)
    elif hinted:
        classes = fitting_names(hint)
    if FrozenCopy.__name__ in classes and hinted and "/" in name:
        return f"no class {name}; of a model write {{class_path: FrozenCopy, init_args: {{checkpoint: {name}}}}}"
    known = here(name, {**OBJECTS, **(LOSSES if own or not hinted else {})}) if "." not in name else None
    if known is not None:
        return f"no class {name}{known}"
    if own and len(classes) == 1 and name.lower() in ("true", "false"):
        return (
            f"expected {classes[0]} or null, got {name}: write {path[-1]}: {classes[0]}, or its settings below the key"
        )
    if not classes:
        return f"no class {name}; write its whole path, such as torch.optim.AdamW"
    others = "" if own or not hinted or nearest(name, classes) else ", and others by their whole path"
    return f"no class {name}{_suggest(name, classes, 'there are')}{others}"


def _fitting(class_path: str | None, path: Sequence[str], classes: Sequence[str]) -> str:
    """Name the package's classes that an argument takes; nothing where it is not known, or takes others as well."""
    hinted = tuple(filter(is_own, classes_of(_hint_of(class_path, path))))
    fitting = _subclasses(hinted, classes) if hinted else []
    return f"; there are {', '.join(fitting)}" if fitting else ""


def _subclasses(wanted: tuple[type, ...], classes: Sequence[str]) -> list[str]:
    found = {each: getattr(dpo_lightning, each) for each in classes}
    return [each for each, kind in found.items() if issubclass(kind, wanted) and not inspect.isabstract(kind)]


def _hint_of(class_path: str | None, path: Sequence[str]) -> Any:
    """Return the type of the argument at a place; None if unknown."""
    owner = Trainer if class_path is None and path[:1] == ["trainer"] else pydoc.locate(class_path or "")
    return _SECTIONS.get(".".join(path)) or _hint(owner, path[-1] if path else "")


def _hint(owner: object, name: str) -> Any:
    """Return the type of an argument of a class, or of the class that it hands its keywords on to; None if unknown."""
    for each in owner.__mro__ if isinstance(owner, type) else ():
        with contextlib.suppress(NameError, TypeError, ValueError):  # a class of the user's may hint what is not there
            parameters = inspect.signature(each, eval_str=True).parameters
            if name in parameters:
                return parameters[name].annotation
    return None


def _arguments(class_path: str | None) -> list[str]:
    module, _, name = (class_path or "").rpartition(".")
    if not module:
        return []
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "params"]


def _joined(path: Sequence[str], match: re.Match[str]) -> str:
    return ".".join([*path, match["name"]])


def _elsewhere(path: Sequence[str], match: re.Match[str]) -> str | None:
    """Say where the value of another trainer's key goes, unless that is the very place that has no such key."""
    known = here(match["name"], KEYS)
    parts = [part for part in _joined(path, match).split(".") if part != "init_args"]
    if known is None or f" {'.'.join(parts)} " in known.replace(",", " "):
        return None
    has_its_name = len(parts) > 2 and f".{parts[-1]} here" in known  # so that what stands before it is mistyped
    return None if has_its_name else known


def _flag(name: str, path: Sequence[str]) -> str:
    """Say which command has a flag of this name, outside of the sections."""
    command = None if path else command_of_flag(name)
    return "" if command is None else f": it is no key, but the flag --{name} of `dpo-lightning {command}`"


def _section(name: str, candidates: Iterable[str]) -> str:
    """Suggest a name for the first of several that stand behind one another."""
    return _suggest(name.partition(".")[0], {each.partition(".")[0]: None for each in candidates})


def _suggest(name: str, candidates: Iterable[str], otherwise: str | None = None) -> str:
    candidates = list(candidates)
    if close := nearest(name, candidates):
        return f"; did you mean `{close}`?"
    return f"; {otherwise} {', '.join(candidates)}" if otherwise and candidates else ""
