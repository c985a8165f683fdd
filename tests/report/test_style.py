"""Colours of the page, by the contrast that the web's guidelines ask for."""

from __future__ import annotations

import re

import pytest

from dpo_lightning.report.style import STYLE

_LIGHT, _DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [_LIGHT, _DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        *((ink, ground) for ink in ("ink", "soft", "error", "warning", "info") for ground in ("ground", "panel")),
        ("ink", "prompt"),
        ("ink", "trained"),
        ("soft", "not-trained"),
        *((f"c{number}", ground) for number in range(8) for ground in ("ground", "panel")),
    ],
)
def test_text_can_be_read(colours, ink, ground):
    assert contrast(colours[ink], colours[ground]) >= 4.5


def test_both_schemes_have_every_colour():
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE))
    assert used == _LIGHT.keys() == _DARK.keys()


def test_names_of_columns_may_break_where_rows_are_lists() -> None:
    """A name stands before its number there, and would run into it."""
    wide, narrow = STYLE.split("@media (max-width: 40rem)")
    assert "td.number { white-space: nowrap; }" in wide
    assert "td.number { white-space: normal; }" in narrow
