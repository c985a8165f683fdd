"""The parser's messages as one line, with the nearest right key."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pydoc
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args, get_origin

from lightning.pytorch import Trainer

import dpo_lightning
from dpo_lightning import FrozenCopy, PreferenceDataModule, PreferenceModule
from dpo_lightning.compat.jsonargparse import (
    CALLABLE,
    CLASS,
    KEY,
    MADE,
    SCAFFOLD,
    SUBCLASS_HELP,
    UNKNOWN_CLASS,
    UNKNOWN_KEY,
    UNKNOWN_OPTION,
    WEAK,
    WRONG_CLASS,
)
from dpo_lightning.utils.text import nearest, one_line

_IN_WORDS = {"Expected a <class 'bool'>": "expected true or false"}
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
        return f"unknown key `{_joined(path, match)}`{_suggest(match['name'], _arguments(class_path), 'its keys are')}"
    if match := UNKNOWN_KEY.search(complaint):
        near = _arguments(class_path) if path else keys
        return f"unknown key `{_joined(path, match)}`{_suggest(match['name'], near) or _section(match['name'], near)}"
    if match := UNKNOWN_CLASS.search(complaint) or WRONG_CLASS.search(complaint):
        if match["name"].rpartition(".")[2] in classes:
            return f"{place}: {match['name']} does not fit here"
        return f"{place}: {_no_class(match['name'], class_path, path, classes)}"
    for kind, words in _IN_WORDS.items():
        complaint = complaint.replace(kind, words)
    return f"{place}: {complaint}" if place else complaint


def _innermost(message: str) -> tuple[list[str], str | None, str]:
    """The keys and the class on the way to the first complaint, and the complaint."""
    path: list[str] = []
    class_path = weak = None
    for raw in message.splitlines():
        line = raw.strip().removeprefix("- ")
        if match := CALLABLE.match(line):
            line, class_path = match["rest"], _made_by(message)
        if match := KEY.match(line):
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
    """Say that there is no such class, and which of the package's the argument takes, as far as its type tells."""
    owner = Trainer if path[:1] == ["trainer"] else pydoc.locate(class_path or "")
    hint = _SECTIONS.get(".".join(path)) or _hint(owner, path[-1] if path else "")
    hinted = tuple(_classes_of(hint))
    if wanted := tuple(each for each in hinted if _is_own(each)) or hinted:
        found = {each: getattr(dpo_lightning, each) for each in classes}
        classes = [each for each, kind in found.items() if issubclass(kind, wanted) and not inspect.isabstract(kind)]
    if FrozenCopy.__name__ in classes and hinted and "/" in name:
        return f"no class {name}; of a model write {{class_path: FrozenCopy, init_args: {{checkpoint: {name}}}}}"
    if not classes:
        return f"no class {name}; write its whole path, such as torch.optim.AdamW"
    return f"no class {name}{_suggest(name, classes, 'there are' if all(map(_is_own, wanted)) else 'this package has')}"


def _hint(owner: object, name: str) -> Any:
    """Return the type of an argument of a class, or of the class that it hands its keywords on to; None if unknown."""
    for each in owner.__mro__ if isinstance(owner, type) else ():
        with contextlib.suppress(NameError, TypeError, ValueError):  # a class of the user's may hint what is not there
            parameters = inspect.signature(each, eval_str=True).parameters
            if name in parameters:
                return parameters[name].annotation
    return None


def _classes_of(hint: Any) -> Iterator[type]:
    if inspect.isclass(hint) and get_origin(hint) is None and hint.__module__ not in ("builtins", "typing"):
        yield hint
    for inner in get_args(hint):
        yield from _classes_of(inner)


def _is_own(each: type) -> bool:
    return each.__module__.startswith(f"{dpo_lightning.__name__}.")


def _arguments(class_path: str | None) -> list[str]:
    module, _, name = (class_path or "").rpartition(".")
    if not module:
        return []
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _joined(path: Sequence[str], match: re.Match[str]) -> str:
    return ".".join([*path, match["name"]])


def _section(name: str, candidates: Iterable[str]) -> str:
    """Suggest a name for the first of several that stand behind one another."""
    return _suggest(name.partition(".")[0], {each.partition(".")[0]: None for each in candidates})


def _suggest(name: str, candidates: Iterable[str], otherwise: str | None = None) -> str:
    candidates = list(candidates)
    if close := nearest(name, candidates):
        return f"; did you mean `{close}`?"
    return f"; {otherwise} {', '.join(candidates)}" if otherwise and candidates else ""
