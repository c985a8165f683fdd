"""Config files as they are written: what YAML would read otherwise than it stands there is refused with its line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import check_writable
from dpo_lightning.utils.text import one_line

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_NO_KEYS = (f"{_TAG}bool", f"{_TAG}null")


def check_config(path: str | os.PathLike[str]) -> None:
    """Find what a config file says otherwise than it looks, before the parser reads it.

    A key that stands twice counts once in YAML, the key `yes` is a bool, and `010` is 8.

    Raises:
        InputError: for such a file, one that is no UTF-8 or no YAML, and one that is no mapping; naming the line.
    """
    place = f"config {path}"
    root = _composed(place, _text(place, Path(path)))
    if not isinstance(root, yaml.MappingNode):
        said = "it is empty" if root is None else "it is no mapping"
        raise InputError(f"{place}: {said}: write model, data and trainer, each with its settings, as `key: value`")
    for node, key in _mappings(place, root, ""):
        _check_keys(place, node, key)


def _text(place: str, path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from None


def _composed(place: str, text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise InputError(f"{place}: {line}no YAML: {one_line(error.problem)}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{place}: no YAML: {one_line(error)}") from None


def _mappings(
    place: str, node: yaml.Node, key: str, above: frozenset[int] = frozenset()
) -> Iterator[tuple[yaml.MappingNode, str]]:
    """Yield each mapping with its key, those inside it after it."""
    if id(node) in above:
        raise InputError(f"{place}: {key}: an anchor that contains itself: write out what it stands for")
    above |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        yield node, key
        for name, inner in node.value:
            below = key if name.value == "init_args" else f"{key}.{name.value}".lstrip(".")
            yield from _mappings(place, inner, below, above)
    elif isinstance(node, yaml.SequenceNode):
        for number, inner in enumerate(node.value):
            yield from _mappings(place, inner, f"{key}[{number}]", above)


def _check_beside(at: str, names: list[str]) -> None:
    """Refuse what stands beside `class_path`, where no class gets it."""
    beside = [name for name in names if name not in ("class_path", "init_args", "dict_kwargs", "<<")]
    if "class_path" in names and beside:
        raise InputError(f"{at}: `{beside[0]}` beside `class_path`: arguments of a class go below `init_args`")


def _check_keys(place: str, node: yaml.MappingNode, key: str) -> None:
    seen: dict[tuple[str, str], int] = {}
    for name, inner in node.value:
        line = name.start_mark.line + 1
        at = ": ".join(filter(None, [place, f"line {line}", key]))
        if not isinstance(name, yaml.ScalarNode):
            raise InputError(f"{at}: a key is a text, got {_shown(name)}")
        if name.tag in _NO_KEYS:
            read = json.dumps(yaml.safe_load(name.value))
            raise InputError(f"{at}: the key `{name.value}` is read as {read}: put it in quotes")
        if (name.tag, name.value) in seen:
            before = seen[name.tag, name.value]
            raise InputError(f"{at}: the key `{name.value}` stands in line {before} as well: the first would be lost")
        seen[name.tag, name.value] = line
        _check_value(f"{at}: {name.value}", name.value, inner)
    line = f"line {node.start_mark.line + 1}"
    _check_beside(": ".join(filter(None, [place, line, key])), [name for _, name in seen])


def _check_value(at: str, name: str, node: yaml.Node) -> None:
    if name == "class_path" and (node.tag != f"{_TAG}str" or not node.value):
        raise InputError(f"{at} must be the name of a class, got {_shown(node)}")
    if name == "init_args" and not isinstance(node, yaml.MappingNode) and node.tag != f"{_TAG}null":
        raise InputError(f"{at} must be a mapping of arguments, got {_shown(node)}")
    if node.tag in (f"{_TAG}int", f"{_TAG}float") and _is_read_otherwise(node.value):
        read = yaml.safe_load(node.value)
        raise InputError(f"{at}: {node.value} is read as {read}: put it in quotes, or write the number")


def _is_read_otherwise(number: str) -> bool:
    """Recognise octal and sexagesimal numbers, which nobody writes who has not read YAML 1.1."""
    digits = number.lstrip("+-")
    return ":" in digits or (len(digits) > 1 and digits[0] == "0" and digits.isdecimal())


def _shown(node: yaml.Node) -> str:
    return f"`{one_line(node.value, 40)}`" if isinstance(node, yaml.ScalarNode) else f"a {node.id}"


def check_new_config(out: Path, place: str) -> None:
    """Refuse a path that no new config can be written to, before anything is read for it.

    Raises:
        InputError: for a file that is there already, one that is no YAML by its name, and one that cannot be written.
    """
    if out.exists():
        raise InputError(f"{place}: {out} is there already: give another path, or remove it")
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{place}: {out}: a config is YAML: give a path that ends in .yaml")
    check_writable(place, out, directory=False)
