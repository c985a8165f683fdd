"""The parser's messages, shortened to a line."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parser_errors import explain


def test_a_message_without_structure_is_kept():
    assert explain("something is wrong", [], []) == "something is wrong"


CLASSES = ["DPO", "SimPO"]
IN_DPO = """Parser key "model.objective":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'NoneType'>, <class 'dpo_lightning.losses.base.AnyObjective'>]
  Errors:
    - Expected a <class 'NoneType'>
    - Problem with given class_path 'dpo_lightning.losses.DPO':
        Option '{}' is not accepted
"""


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (IN_DPO.format("bta"), "unknown key `model.objective.bta`; did you mean `beta`?"),
        (IN_DPO.format("x"), "unknown key `model.objective.x`; its keys are beta, label_smoothing"),
        ("Unrecognized arguments: --data.sed=3", "unknown key `data.sed`; did you mean `data.seed`?"),
        ("Unrecognized arguments: --nowhere=3", "unknown key `nowhere`"),
        (
            'Parser key "a.b":\n  - Expected a dot import path string: DPPO',
            "a.b: no class DPPO; did you mean `DPO`?",
        ),
        ('Parser key "a":\n  Expected a dot import path string: Nothing', "a: no class Nothing; there are DPO, SimPO"),
        (
            'Parser key "a":\n  Import path x.DPO does not correspond to a subclass of Tree',
            "a: x.DPO does not fit here",
        ),
        ('Parser key "a":\n  Parser key "b.c": Expected a number', "a.b.c: Expected a number"),
    ],
    ids=["near", "far", "top", "nowhere", "class", "other class", "wrong class", "nested"],
)
def test_the_innermost_complaint_is_told_with_the_way_to_it(message: str, line: str) -> None:
    assert explain(message, ["data.seed", "model.policy"], CLASSES) == line
