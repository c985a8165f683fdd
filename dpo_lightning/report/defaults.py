"""Settings that differ from their defaults, which are read from source text: no class is imported for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

_TRAINER = "lightning.pytorch.Trainer"
_NO_SETTING = ("torch_threads", "ckpt_path", "weights_only")
Settings = dict[str, Any]


def changed(config: Mapping[str, Any]) -> Settings:
    """Return the settings of a saved config that differ from their defaults, by their keys joined by dots.

    A class that has another default than its argument is among them, under its name; of a class whose source is not
    here, every setting is.

    Args:
        config: As a run saves it: `trainer`, `model`, `data`, and what concerns the process.
    """
    found: Settings = {}
    for key, value in config.items():
        if key == "trainer" and isinstance(value, Mapping):
            found.update(_differing(key, value, defaults_of(_TRAINER)))
        elif isinstance(value, Mapping):
            found.update(_of_value(key, value))
        elif value is not None or key not in _NO_SETTING:
            found[key] = value
    return found


def flat(settings: Mapping[str, Any], place: str = "") -> Settings:
    """Return all settings by their keys joined by dots; `init_args` is no key, and `class_path` that of its class."""
    found: Settings = {}
    for key, value in settings.items():
        name = place if key == "init_args" and place else ".".join(filter(None, (place, str(key))))
        if key == "class_path" and place:
            found[place] = short_name(value)
        elif isinstance(value, Mapping) and value:
            found.update(flat(value, name))
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            for number, each in enumerate(value):
                found.update(flat({str(number): each}, name))
        else:
            found[name] = value
    return found


def short_name(path: object) -> str:
    """Return the last word of a class's path, by which a config may name it."""
    return str(path).rpartition(".")[2]


@cache
def defaults_of(path: str) -> Mapping[str, Any]:
    """Return the defaults of a class's arguments that its source text has as plain values; none without its source.

    Args:
        path: Path of the class, such as `torch.optim.AdamW`, which need not be the file's.
    """
    root, _, name = path.rpartition(".")
    found: Settings = {}
    for node in _classes(root, name):
        for base in reversed(node.bases):
            if isinstance(base, ast.Name) and base.id != name:
                found = {**defaults_of(f"{root}.{base.id}"), **found}
        return {**found, **dict(_own(node))}
    return {}


def _classes(package: str, name: str) -> Iterator[ast.ClassDef]:
    """Yield the definition of a class in a package's files."""
    begins = re.compile(rf"^class {re.escape(name)}\b", re.MULTILINE)
    for file in _files(package):
        try:
            source = file.read_text(encoding="utf-8")
            tree = ast.parse(source) if begins.search(source) else None
        except (OSError, ValueError, SyntaxError):
            continue
        if tree is not None:
            yield from (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def _files(package: str) -> Iterator[Path]:
    """Yield the files in which a package's class may stand: that of the name, or those of its folder."""
    first, *rest = package.split(".")
    try:
        spec = find_spec(first)  # of a package without its parents: nothing is imported
    except (ImportError, ValueError):
        return
    if not first or spec is None:
        return
    for place in spec.submodule_search_locations or ():
        folder = Path(place, *rest)
        if folder.with_suffix(".py").is_file():
            yield folder.with_suffix(".py")
        elif folder.is_dir():
            yield from sorted(folder.rglob("*.py"))


def _own(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """Yield arguments with their defaults: of `__init__`, or the fields of a dataclass."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            yield from _of_arguments(part.args)
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.value is not None:
            yield from _plain(part.target.id, part.value)


def _of_arguments(arguments: ast.arguments) -> Iterator[tuple[str, Any]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    placed = zip(reversed(positional), reversed(arguments.defaults), strict=False)
    for argument, default in chain(placed, zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)):
        if default is not None:
            yield from _plain(argument.arg, default)


def _plain(name: str, node: ast.expr) -> Iterator[tuple[str, Any]]:
    try:
        value = ast.literal_eval(node)
    except ValueError:  # a call, or a name
        return
    yield name, [*value] if isinstance(value, tuple) else value


def _of_value(place: str, value: Mapping[str, Any]) -> Settings:
    """Return a class with those of its settings that differ; of another mapping all."""
    path = value.get("class_path")
    if not isinstance(path, str):
        return flat(value, place)
    own = value.get("init_args")
    inner = _differing(place, own, defaults_of(path)) if isinstance(own, Mapping) else {}
    return {place: short_name(path), **inner}


def _differing(place: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Settings:
    found: Settings = {}
    for key, value in settings.items():
        name = f"{place}.{key}"
        if isinstance(value, Mapping):
            found.update(_of_value(name, value))
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            for number, each in enumerate(value):
                found.update(_of_value(f"{name}.{number}", each) if isinstance(each, Mapping) else {name: each})
        elif value != defaults.get(key):  # None is the default of most that have none in plain words
            found[name] = value
    return found
