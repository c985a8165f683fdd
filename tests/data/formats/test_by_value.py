"""Digests by value: what changes them, and what does not."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.data.formats import by_value
from dpo_lightning.data.formats.by_value import ByValue

HELPERS = """
from functools import cached_property, lru_cache, partial, wraps

SCALE = 2
TABLE = {"a": [len], "b": {"x", "y"}}


def scaled(text, by=SCALE):
    return by * len(text)


def shout(function):
    @wraps(function)
    def inner(text):
        return function(text) + "!"

    return inner


@lru_cache
def cached(text):
    return text.strip()


class Base:
    def kept(self, text):
        return text.lower()
"""
MAIN = """
import math
import re
from enum import Enum
from functools import cached_property, partial

import helpers
from helpers import SCALE, TABLE, Base, cached, scaled, shout

PATTERN = re.compile("a+")


class Mode(Enum):
    FAST = 1


def later(text):
    import lazily

    return lazily.lazy(text)


@shout
def loud(text):
    return text.upper()


class Read(Base):
    limit = 3

    def __init__(self, clean=scaled, mode=Mode.FAST):
        self.clean = clean
        self.mode = mode

    def __call__(self, text, end="."):
        return self.clean(text) + SCALE + helpers.scaled(text) + len(TABLE) + math.pi if PATTERN else [
            loud(each) + cached(each) + later(end) for each in text
        ]

    @property
    def size(self):
        return 1

    @staticmethod
    def fixed(x):
        return x

    @cached_property
    def slow(self):
        return partial(self.fixed, 5)
"""
LAZY = """
def lazy(text):
    return text
"""
FILES = {"helpers": HELPERS, "reads": MAIN, "lazily": LAZY}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Write the modules, with one text in place of another in one of them, and return what is asked for."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def made(module: str = "", before: str = "", after: str = "") -> Any:
        for name, text in FILES.items():
            assert name != module or before in text
            (tmp_path / f"{name}.py").write_text(text.replace(before, after) if name == module else text)
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module("reads")

    yield made
    for name in FILES:
        sys.modules.pop(name, None)


def digest(value: Any) -> str:
    return ByValue((), ("dpo_lightning",)).digest(value)


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [
        ("reads", "limit = 3", "limit = 4"),
        ("reads", 'end="."', 'end="?"'),
        ("reads", "text.upper()", "text.title()"),
        ("reads", "math.pi", "math.e"),
        ("reads", 'compile("a+")', 'compile("b+")'),
        ("reads", "return 1", "return 2"),
        ("reads", "return x", "return -x"),
        ("reads", "self.fixed, 5", "self.fixed, 6"),
        ("reads", "FAST = 1", "FAST = 2"),
        ("helpers", "SCALE = 2", "SCALE = 3"),
        ("helpers", "by * len", "by + len"),
        ("helpers", '+ "!"', '+ "?"'),
        ("helpers", "text.strip()", "text.rstrip()"),
        ("helpers", "text.lower()", "text"),
        ("helpers", "[len]", "[max]"),
        ("helpers", '"x", "y"', '"x", "z"'),
        ("lazily", "return text", "return text * 2"),
    ],
)
def test_an_edit_of_whatever_the_code_reaches_shows(make: Any, module: str, before: str, after: str) -> None:
    one = digest(make().Read())
    assert digest(make().Read()) == one
    assert digest(make(module, before, after).Read()) != one


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [
        ("reads", "import math", "# A comment.\nimport math"),
        ("reads", "PATTERN =", "UNUSED = 5\nPATTERN ="),
        ("helpers", "class Base:", "def unused():\n    return 1\n\n\nclass Base:"),
    ],
)
def test_an_edit_of_other_code_does_not(make: Any, module: str, before: str, after: str) -> None:
    assert digest(make(module, before, after).Read()) == digest(make().Read())


def test_it_is_the_code_that_runs_and_not_the_file(make: Any) -> None:
    module = make()
    one = digest(module.Read())
    module.helpers.scaled = lambda text: 0
    assert digest(module.Read()) != one
    module = make()
    module.Read.kept = lambda self, text: text
    assert digest(module.Read()) != one


def test_settings_count_and_functions_among_them(make: Any) -> None:
    module = make()
    one = digest(module.Read())
    assert digest(module.Read(clean=module.loud)) != one
    assert digest(module.Read(clean=lambda text: 1)) != digest(module.Read(clean=lambda text: 2))
    assert digest(module.Read(mode=None)) != one
    lazy = module.Read()
    assert lazy.slow() == 5
    assert digest(lazy) == one


class Loop:
    def __init__(self, end: int) -> None:
        self.all = [self, {"end": end, "me": self}]


def test_what_holds_itself_ends() -> None:
    assert digest(Loop(1)) == digest(Loop(1)) != digest(Loop(2))


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), ("1", 1), ([1], (1,)), ({"a": 1}, {"a": 2}), ({1, 2}, {1, 3}), ([[]], [[[]]]), (len, max)],
)
def test_values_of_other_kinds_are_others(one: Any, other: Any) -> None:
    assert digest([one]) != digest([other])


def test_equal_values_are_equal_however_they_were_made() -> None:
    text = "".join(["a", "b"])
    shared = [1]
    assert digest([text, text, shared, shared]) == digest(["ab", "a" + "b", [1], [1]])
    assert digest(open(__file__, "rb")) == digest(open(__file__, "rb"))  # noqa: SIM115 - cannot be hashed


def test_other_processes_find_the_same(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text)
    program = textwrap.dedent(
        """
        import runpy
        import sys

        from reads import Read

        ByValue = runpy.run_path(sys.argv[1])["ByValue"]  # alone: the package takes seconds to import

        class Here(Read):
            names = {"a", "b", "c", "d"}

            def other(self, x):
                return x in {"q", "r", "s"} or self.names

        print(ByValue().digest(Read()), ByValue().digest(Here()))
        """
    )
    (tmp_path / "script.py").write_text(program)
    outputs = {
        subprocess.run(
            [sys.executable, str(tmp_path / "script.py"), by_value.__file__],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
