"""Policies that two processes share have the gradients of one process: one run of both measures all cases."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.logprobs.two_processes import CASES, RANKS


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float | str]:
    path = tmp_path_factory.mktemp("shared") / "errors.json"
    command = [sys.executable, "-m", "tests.logprobs.two_processes"]
    ranks = [
        subprocess.Popen([*command, str(rank), str(path)], stderr=subprocess.PIPE, text=True) for rank in range(RANKS)
    ]
    try:
        failures = [rank.communicate(timeout=300)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert not any(rank.returncode for rank in ranks), failures
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_one_process(case: str, errors: dict[str, float | str]) -> None:
    assert errors[case] == pytest.approx(0, abs=1e-6)
