"""The page about curves has a section and a picture of each rule, and each faulty run of the pictures has its hint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dpo_lightning.report.health import RULES, Rule
from tests.report.png import size
from tools.docs.curves import FOLDER, RUNS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reading-the-curves.md").read_text(encoding="utf-8")
SECTIONS = {part.splitlines()[0]: part for part in PAGE.split("\n### ")[1:]}
NAMES = [rule.name for rule in RULES]


def test_the_page_has_a_section_of_each_rule_and_of_no_other() -> None:
    assert list(SECTIONS) == NAMES


def test_each_rule_has_a_run_and_a_healthy_one_is_beside_them() -> None:
    assert {*RUNS} == {*NAMES, "healthy"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_section_shows_its_picture_and_says_what_is_read_and_done(rule: Rule) -> None:
    section = SECTIONS[rule.name]
    assert f"(curves/{rule.name}.png)" in section
    assert re.search(r"\*\*Read", section)
    assert "**Do**" in section
    for name in rule.reads:
        assert f"`{name}`" in section or f"`{name.partition('/')[0]}`" in section or "log-probs" in section


@pytest.mark.parametrize("name", [*NAMES, "healthy"])
def test_a_picture_is_there_and_small(name: str) -> None:
    picture = ROOT / FOLDER / f"{name}.png"
    assert f"(curves/{name}.png)" in PAGE
    assert picture.stat().st_size < 60_000
    assert min(size(picture)) > 150
