"""The package's docstrings: how their first lines begin, and one style of quoting."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dpo_lightning

PACKAGE = Path(dpo_lightning.__file__).parent
# Openings of half sentences. A first line is a sentence with a verb, or a noun that names the thing.
RIDDLES = {
    word
    for words in (
        "And As At Beside But By For From If In Into Its No Nothing Of On One Or Over So Some Such That There These",
        "This Those To What When Where Whether Which Who Whom Whose Why With Without",
    )
    for word in words.split()
}
OTHER_QUOTES = re.compile(r"``|:(?:attr|class|data|func|meth|mod):`")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def faults(source: str) -> list[str]:
    found = []
    for line, text in docstrings(ast.parse(source)):
        first = text.splitlines()[0]
        opening = re.split(r"\W", first, maxsplit=1)[0]
        if opening in RIDDLES:
            found.append(f"line {line}: begins with {opening!r}: {first}")
        if OTHER_QUOTES.search(text):
            found.append(f"line {line}: code stands in single backticks, and nothing else does: {first}")
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_docstring_begins_with_a_verb_or_with_the_thing(file: Path) -> None:
    assert faults(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("docstring", "known"),
    [
        ("What a step reads.", False),
        ("Of each pair, the loss.", False),
        ("Return ``x``.", False),
        ("Return :func:`dpo`.", False),
        ("Return `x`.", True),
        ("Onward motion of the loss.", True),
    ],
)
def test_the_search_finds_what_it_is_for(docstring: str, known: bool) -> None:
    source = f'"""A module."""\n\n\ndef f():\n    """{docstring}"""\n'

    assert (faults(source) == []) is known
