"""Equations of the site are pictures inside the page, whatever TeX the docstrings have."""

from __future__ import annotations

import ast
import re
import textwrap
from xml.etree import ElementTree

import pytest
from markdown import Markdown

import dpo_lightning
from tests.docs.blocks import ROOT
from tools.docs.equations import BLOCK, makeExtension, picture, spelled

PACKAGE = ROOT / dpo_lightning.__name__


def in_docstrings() -> list[str]:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                found += [textwrap.dedent(block) for block in BLOCK.findall(text)]
    return found


def test_every_equation_of_the_docstrings_and_pages_can_be_drawn() -> None:
    page = (ROOT / "docs/objectives.md").read_text(encoding="utf-8")
    equations = [*in_docstrings(), *re.findall(r"\$`(.+?)`\$", page)]
    assert len(equations) > 80
    for equation in equations:
        for svg in picture(equation).split("<br>"):
            assert ElementTree.fromstring(svg)[0].attrib["d"].startswith("m")


@pytest.mark.parametrize(
    ("tex", "said"),
    [
        (r"\tfrac12 x", r"\frac{1}{2} x"),
        (r"\big(x\big)", "(x)"),
        (r"\log\pi(y\vert x)", r"\log\pi(y|x)"),
        (r"t \le l \leq m", r"t \leq l \leq m"),
        (r"\begin{cases} a & y \\ b & z \end{cases}", r"\left\{a ,\; y;\quad b ,\; z\right\}"),
    ],
)
def test_what_matplotlib_lacks_is_said_otherwise(tex: str, said: str) -> None:
    assert spelled(tex) == said


def test_lines_are_pictures_of_their_own() -> None:
    assert picture(r"a &= 1 \\ b &= 2").count("<svg") == 2


def test_markdown_has_both_forms_and_leaves_code_alone() -> None:
    html = Markdown(extensions=[makeExtension(), "fenced_code"]).convert(
        "inline $`a_b < c`$ here\n\n.. math:: x^2\n    + y\n\nafter\n\n`$x$` costs $5\n"
    )
    assert re.findall(r'aria-label="([^"]*)"', html) == ["a_b &lt; c", "x^2 + y"]
    assert "<code>$x$</code> costs $5" in html
    assert "after" in html


def test_what_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        picture(r"\nosuch{x}")
