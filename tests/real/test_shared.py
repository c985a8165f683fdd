"""The `shared` fixture: tests on real data are skipped without the data, but never in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"


@pytest.fixture
def checkout(pytester: pytest.Pytester) -> pytest.Pytester:
    """A checkout with our conftest, nothing beside it, and one test that wants real data."""
    tests = pytester.mkdir("checkout") / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (tests / "test_real.py").write_text("def test_real(shared): assert shared.is_dir()\n", encoding="utf-8")
    return pytester


def test_absent_data_fails_in_ci(checkout: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = checkout.runpytest_inprocess("checkout/tests")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*must be there in CI*"])


def test_absent_data_skips_elsewhere(checkout: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    checkout.runpytest_inprocess("checkout/tests").assert_outcomes(skipped=1)


def test_present_data_is_used(checkout: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    checkout.mkdir("shared")
    checkout.runpytest_inprocess("checkout/tests").assert_outcomes(passed=1)
