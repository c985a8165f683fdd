"""The configuration: what differs first, all folded, no secrets."""

from __future__ import annotations

import pytest

from dpo_lightning.report.page.settings import said, settings
from dpo_lightning.report.runs import Run
from tests.helpers.recorded import write_run
from tests.report.page.common import run, words


def test_what_differs_comes_first_and_all_of_it_folded(tmp_path) -> None:
    source = "".join(settings(Run.read(write_run(tmp_path, beta=0.7))))
    first, _, folded = source.partition("<details")
    assert "model.objective.beta 0.7" in words([first])
    assert "data.max_length" not in first  # 1024 is the default
    assert "PreferenceModule" not in first
    assert "data.max_length 1024" in words(["<", folded])
    assert "hf_" not in source
    assert "data.load_options.token ***" in words([source])


def test_a_run_of_python_says_why_there_is_no_config() -> None:
    assert "no config.yaml" in words(settings(run()))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1e-6, "1e-06"), ([0.9, None], "[0.9, null]"), ("a", "a"), (3, "3"), ({}, "{}")],
)
def test_values_are_as_in_yaml(value, text) -> None:
    assert said(value) == text
