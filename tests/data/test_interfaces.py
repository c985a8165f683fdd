"""Every question that DataModules, modules and callbacks ask of each other has to be answered."""

from __future__ import annotations

import pytest

from dpo_lightning import PreferenceDataModule, PreferenceModule
from dpo_lightning.data.interfaces import PreferenceLearner, PreferenceSource


@pytest.mark.parametrize(
    ("asked", "question"),
    [
        (PreferenceLearner, "data_read"),
        (PreferenceLearner, "tree_problem"),
        (PreferenceLearner, "with_reference"),
        (PreferenceSource, "tokenizer"),
        (PreferenceSource, "examples_used"),
        (PreferenceSource, "prompts"),
    ],
)
def test_a_question_left_open_is_refused(asked: type, question: str) -> None:
    answers = {name: None for name in asked.__abstractmethods__ if name != question}  # type: ignore[attr-defined]

    with pytest.raises(TypeError, match=question):
        type("Open", (asked,), answers)()
    type("Answered", (asked,), {**answers, question: None})()


def test_our_own_answer_all() -> None:
    assert issubclass(PreferenceModule, PreferenceLearner)
    assert issubclass(PreferenceDataModule, PreferenceSource)
    for kind in (PreferenceModule, PreferenceDataModule):
        assert not kind.__abstractmethods__
