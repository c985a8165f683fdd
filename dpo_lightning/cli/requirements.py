"""Packages that this one needs, and that its extras add, as its installation says."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata

from packaging.requirements import Requirement

OURS = "dpo_lightning"
_FOR_DEVELOPERS = ("dev", "docs", "test")


def requirements(extra: str | None = None) -> Iterator[Requirement]:
    """Yield what the package needs on this Python, or what an extra of it adds; nothing where it is not installed."""
    for each in _all("Requires-Dist"):
        found = Requirement(each)
        if _holds(found, extra or "") and (extra is None or not _holds(found, "")):
            yield found


def _holds(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def extras() -> list[str]:
    """Return the names of the extras that users take; none where the package is not installed."""
    return sorted({*_all("Provides-Extra")} - {*_FOR_DEVELOPERS})


def _all(field: str) -> list[str]:
    try:
        return metadata(OURS).get_all(field) or []
    except PackageNotFoundError:  # run from its source
        return []
