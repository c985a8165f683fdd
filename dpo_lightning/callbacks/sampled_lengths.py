"""Lengths of a run's samples, beside those of its reference, read from its record."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class SampledLengths:
    """Reads what was added to `samples.jsonl` since it was read last, so that many tables cost as much as their rows.

    Args:
        path: The file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._read = 0
        self._first: tuple[int, list[int]] | None = None
        self._last: tuple[int, list[int], list[int]] | None = None

    def read(self) -> tuple[float, float, int] | None:
        """Return the mean words of the last samples, of the reference's or the first ones, and how many there are.

        None without samples, and for a file that cannot be read: the hints are no reason to end a run.
        """
        try:
            self._read_on()
        except (OSError, ValueError, TypeError, AttributeError):  # there is none yet, or it is damaged
            self._begin()
        if self._first is None or self._last is None:
            return None
        _, policy, reference = self._last
        reference = reference or self._first[1]
        if not policy or not reference:
            return None
        return statistics.fmean(policy), statistics.fmean(reference), min(len(policy), len(reference))

    def _read_on(self) -> None:
        with self._path.open("rb") as file:
            if file.seek(0, 2) < self._read:  # it was written anew
                self._begin()
            file.seek(self._read)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._add(json.loads(line))
        self._read += len(whole)

    def _add(self, row: Mapping[str, Any]) -> None:
        step = int(row.get("step", 0))
        policy, reference = _words(row, "policy"), _words(row, "reference")
        if self._first is None or step < self._first[0]:
            self._first = step, []
        if self._last is None or step > self._last[0]:
            self._last = step, [], []
        if step == self._first[0]:
            self._first[1].extend(policy)
        if step == self._last[0]:
            self._last[1].extend(policy)
            self._last[2].extend(reference)


def _words(row: Mapping[str, Any], of: str) -> list[int]:
    return [len(str(text).split()) for text in row.get(of) or ()]
