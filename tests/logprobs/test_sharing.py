"""Policies that two processes share have the gradients of one process: one run of both measures all cases."""

from __future__ import annotations

import json

import pytest

from tests.helpers.ranks import succeed
from tests.helpers.resumable import in_processes
from tests.logprobs.two_processes import CASES, RANKS
from tests.logprobs.two_processes import main as measure


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float | str]:
    path = tmp_path_factory.mktemp("shared") / "errors.json"
    succeed(in_processes(RANKS, measure, str(path), output=path.parent, timeout=300), path.parent)
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_one_process(case: str, errors: dict[str, float | str]) -> None:
    assert errors[case] == pytest.approx(0, abs=1e-6)
