"""No file outside `compat` touches a private name of another library."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dpo_lightning

PACKAGE = Path(dpo_lightning.__file__).parent
NAMED_TUPLES = {"_replace", "_fields", "_asdict", "_make"}
PUBLIC = {"_exit"}  # of `os`, which documents it
OWN = "dpo_lightning"
FILES = sorted(
    file
    for file in PACKAGE.rglob("*.py")
    if "compat" not in file.relative_to(PACKAGE).parts and not file.name.startswith("__")
)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_")  # `__init__`, and the hooks of enums


def own_names(tree: ast.Module) -> set[str]:
    """Private names that the file itself gives: methods, functions, fields, and attributes of `self`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def touches(tree: ast.Module) -> Iterator[str]:
    """Private attributes, on `self` too where the file does not give them; private imports; names in `getattr`."""
    own = own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in NAMED_TUPLES | PUBLIC:
            if is_super(node.value) or node.attr not in own:
                yield f"line {node.lineno}: .{node.attr}"
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith((OWN, "__future__")):
            names = [*(node.module or "").split("."), *(each.name for each in node.names)]
            yield from (f"line {node.lineno}: import {name}" for name in names if is_private(name))
        elif isinstance(node, ast.Import):
            names = [part for each in node.names for part in each.name.split(".")]
            yield from (f"line {node.lineno}: import {name}" for name in names if is_private(name))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from by_string(node)


def by_string(call: ast.Call) -> Iterator[str]:
    if isinstance(call.func, ast.Name) and call.func.id in ("getattr", "setattr", "hasattr", "delattr"):
        for argument in call.args[1:2]:
            name = argument.value if isinstance(argument, ast.Constant) else None
            if isinstance(name, str) and is_private(name) and name not in NAMED_TUPLES:
                yield f"line {call.lineno}: {call.func.id} {name}"


def overrides() -> Iterator[str]:
    """Private methods of the package's classes, outside `compat`, that replace one of another library's class."""
    for file in FILES:
        module = importlib.import_module(".".join([OWN, *file.relative_to(PACKAGE).with_suffix("").parts]))
        for each in vars(module).values():
            if isinstance(each, type) and each.__module__ == module.__name__:
                yield from overrides_of(each)


def overrides_of(kind: type) -> Iterator[str]:
    foreign = [base for base in kind.__mro__[1:] if not base.__module__.startswith(OWN)]
    for name, value in vars(kind).items():
        if inspect.isfunction(value) and is_private(name) and any(name in vars(base) for base in foreign):
            yield f"{kind.__qualname__}.{name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_private_is_touched_outside_compat(file: Path) -> None:
    assert list(touches(ast.parse(file.read_text()))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(trainer):\n    return trainer._results", ["line 2: ._results"]),
        ("class A(B):\n    def f(self):\n        return self._trainer", ["line 3: ._trainer"]),
        ("class A(B):\n    def _apply(self):\n        super()._apply()", ["line 3: ._apply"]),
        ("from torch.utils._pytree import tree_map", ["line 1: import _pytree"]),
        ("from lightning.x import _y", ["line 1: import _y"]),
        ("import torch._dynamo", ["line 1: import _dynamo"]),
        ("getattr(model, '_no_split_modules', None)", ["line 1: getattr _no_split_modules"]),
        ("pair._replace(a=1)", []),
        ("class A:\n    def f(self):\n        self._x = 1\n        return self._x", []),
        ("from dpo_lightning.x import _y", []),
        ("x.__class__", []),
    ],
)
def test_the_search_bites(source: str, found: list[str]) -> None:
    assert list(touches(ast.parse(source))) == found


def test_no_class_outside_compat_overrides_a_private_method() -> None:
    assert list(overrides()) == []


def test_an_override_is_found() -> None:
    class Converted(torch.nn.Module):
        def _apply(self, fn: object) -> None: ...

    assert [name.rpartition(".")[2] for name in overrides_of(Converted)] == ["_apply"]
