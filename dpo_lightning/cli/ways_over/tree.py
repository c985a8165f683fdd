"""A config under construction, each value with the comment that says where it comes from, and how it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Union

import yaml  # type: ignore[import-untyped]

BESIDE = "<config>."
"""Stands for the config's path without its ending, in paths of files that are written beside it."""
_COLUMN = 44  # where comments begin
_SECTIONS = ("seed_everything", "torch_threads", "ckpt_path", "weights_only", "model", "data", "trainer")


class From(NamedTuple):
    """A value and the comment that names the fields of which it comes.

    Attributes:
        value: What is written, on one line.
        comment: Names of fields; empty for none.
    """

    value: Any
    comment: str = ""


Tree = Union[From, Mapping[str, "Tree"], Sequence["Tree"]]


def made(name: str, why: str, /, **arguments: Tree) -> dict[str, Tree]:
    """Return an object of a config: its class with a comment, and its arguments, each with its own."""
    found: dict[str, Tree] = {"class_path": From(name, why)}
    return {**found, "init_args": arguments} if arguments else found


def plain(tree: Any) -> Any:
    """Return the values alone."""
    if isinstance(tree, From):
        return tree.value
    if isinstance(tree, Mapping):
        return {name: plain(inner) for name, inner in tree.items()}
    return [plain(inner) for inner in tree]


def written(tree: Mapping[str, Any], heading: Sequence[str] = ()) -> str:
    """Return a config as YAML, its sections in the order that people read them in, with comments."""
    ordered = {name: tree[name] for name in [*_SECTIONS, *tree] if name in tree}
    return "\n".join([*(f"# {line}" for line in heading), *_mapping(ordered, 0)]) + "\n"


def _mapping(tree: Mapping[str, Any], depth: int) -> Iterator[str]:
    for name, inner in tree.items():
        key = f"{'  ' * depth}{_flow(name)}:"
        if isinstance(inner, From):
            yield _line(f"{key} {_flow(inner.value)}", inner.comment)
        elif not inner:
            yield f"{key} {'{}' if isinstance(inner, Mapping) else '[]'}"
        else:
            yield key
            yield from _below(inner, depth + 1)


def _below(tree: Any, depth: int) -> Iterator[str]:
    if isinstance(tree, Mapping):
        yield from _mapping(tree, depth)
        return
    for inner in tree:
        if isinstance(inner, From):
            yield _line(f"{'  ' * depth}- {_flow(inner.value)}", inner.comment)
        else:
            first, *others = _mapping(inner, depth + 1)
            yield f"{'  ' * depth}- {first[2 * depth + 2 :]}"  # the dash in the place of two blanks
            yield from others


def _line(text: str, comment: str) -> str:
    return f"{text:<{_COLUMN}} # {comment}" if comment else text


def _flow(value: Any) -> str:
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return dumped.removesuffix("\n...\n").strip()
