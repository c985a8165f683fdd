"""docs/chat-templates.md says of every template of TRL what its tokens are, and the tokens are what it says."""

from __future__ import annotations

import pytest

from dpo_lightning.data import ExampleTokenizer
from dpo_lightning.data.tokenize.boundary import Boundary
from tools.docs import chat_templates as page

TEMPLATES = page.templates()
PAGE = page.PAGE.read_text(encoding="utf-8")
OUTCOMES = {"=", "merged", "shared", "raises", "left out"}


def cells(name: str) -> list[str]:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_row_is_up_to_date_and_nothing_differs(name):
    assert page.row(name, TEMPLATES[name]) in PAGE.splitlines(), "run python -m tools.docs.chat_templates"
    assert {cell.split(" + ")[0].split(" (")[0] for cell in cells(name)[:-1]} <= OUTCOMES


def test_the_page_has_every_template_and_no_other():
    rows = [line for line in PAGE.split(page.BEGIN)[1].split(page.END)[0].splitlines() if line.startswith("| ")]
    assert [line.split(" ")[1] for line in rows[1:]] == list(TEMPLATES)
    assert len(TEMPLATES) >= 38


@pytest.mark.parametrize("name", [name for name in TEMPLATES if cells(name)[-1]])
def test_what_to_set_makes_a_boundary_clean(name):
    argument, value = cells(name)[-1].strip("`").split(": ")
    first = next(at for at, cell in enumerate(cells(name)) if cell.startswith(("shared", "merged")))
    encode = ExampleTokenizer(
        page.tokenizer_of(TEMPLATES[name]), 10_000, template_arguments={argument: value == "true"}
    )
    assert encode(list(page.CASES.values())[first]).boundary is Boundary.CLEAN


def test_tokens_that_are_others_are_seen():
    """The comparison itself: a template that says something else for an answered dialogue than TRL reads."""
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if date is defined %}x{% endif %}"
    assert page.outcome(template, page.CASES["single"]) == "= + EOS"
    example = page.CASES["single"]
    tokenizer = page.tokenizer_of(template)
    encoded = ExampleTokenizer(tokenizer, 10_000)(example)
    (first, *rest), second = encoded.example.completion_ids
    wrong = encoded._replace(example=encoded.example._replace(completion_ids=[[first + 1, *rest], second]))
    assert page._beside(tokenizer, page._as_given, example, encoded, {}) == "= + EOS"
    assert page._beside(tokenizer, page._as_given, example, wrong, {}) == "differs"
