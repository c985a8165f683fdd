"""The sessions of docstrings are code on the API pages."""

from __future__ import annotations

import griffe

from tests.docs.blocks import ROOT
from tools.docs.docstrings import SessionsAsExamples


def test_one_example_is_a_section_of_examples() -> None:
    package = griffe.load(
        "dpo_lightning",
        search_paths=[ROOT],
        extensions=griffe.load_extensions(SessionsAsExamples()),
        allow_inspection=False,
    )
    parsed = package["losses.dpo.DPO"].docstring.parse("google")
    (examples,) = [section for section in parsed if section.kind is griffe.DocstringSectionKind.examples]
    assert "DPO(beta=0.5)(scores)" in examples.value[0][1]
