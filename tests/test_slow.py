"""What `make quick` leaves out is there, is marked, and is a part only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slow import SLOW

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("prefix", SLOW)
def test_each_entry_names_tests_that_are_there(prefix: str) -> None:
    path, _, function = prefix.partition("::")
    files = [file for file in FILES if file.startswith(path)]

    assert files
    assert all(f"\ndef {function}" in (ROOT / file).read_text(encoding="utf-8") for file in files)


def test_slow_tests_are_marked_and_no_others(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        assert (item.get_closest_marker("slow") is not None) == item.nodeid.startswith(tuple(SLOW)), item.nodeid


def test_most_files_of_tests_are_quick() -> None:
    assert sum(file.startswith(tuple(SLOW)) for file in FILES) < len(FILES) / 2
