"""What the installation says that the package needs."""

from __future__ import annotations

from email.message import Message

import pytest

from dpo_lightning.cli import requirements as place
from dpo_lightning.cli.missing import missing_package
from dpo_lightning.cli.requirements import extras, requirements


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with markers of several kinds."""
    found = Message()
    for name in ("plot", "qlora", "dev"):
        found["Provides-Extra"] = name
    for text in (
        "torch>=2",
        'old>=1; python_version < "3"',
        'new>=1; python_version >= "3"',
        'plotter>=3; python_version >= "3" and extra == "plot"',
        'gone>=3; python_version < "3" and extra == "plot"',
        'bits>=1; extra == "qlora"',
        'checker; extra == "dev"',
    ):
        found["Requires-Dist"] = text
    monkeypatch.setattr(place, "metadata", lambda name: found)


def test_markers_are_evaluated(installed: None) -> None:
    assert [each.name for each in requirements()] == ["torch", "new"]
    assert [each.name for each in requirements("plot")] == ["plotter"]
    assert extras() == ["plot", "qlora"]


def test_an_extra_behind_another_marker_is_named(installed: None) -> None:
    error = ValueError("Requirement 'plotter>=2' not met")
    assert missing_package([error]) == "needs plotter: pip install 'dpo_lightning[plot]'"


def test_without_an_installation_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Message:
        raise place.PackageNotFoundError(name)

    monkeypatch.setattr(place, "metadata", gone)
    assert ([*requirements()], extras()) == ([], [])
    assert missing_package([ValueError("Requirement 'x>=2' not met")]) == "needs x: pip install 'x>=2'"
