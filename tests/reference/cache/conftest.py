"""What the tests of the cache watch."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.reference.cache.scorer import Scorer


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pairs of each batch that was scored."""
    seen: list[int] = []
    score = Scorer.__call__

    def watched(self: Any, pairs: Any) -> Any:
        if len(pairs):
            seen.append(len(pairs))
        return score(self, pairs)

    monkeypatch.setattr(Scorer, "__call__", watched)
    return seen
