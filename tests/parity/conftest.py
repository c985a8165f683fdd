"""What the comparisons by steps share."""

from __future__ import annotations

import pytest

from tests.parity.steps import Scene, make_scene
from tests.parity.worlds import float64_world, letter_rows


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Short completions: TRL sums log-probs in float32, which costs 1e-6 nats beyond a sum of 16.

    Their lengths differ little, so that policy and reference rank the pairs' margins differently, which AOT is about.
    """
    rows = letter_rows(8, prompt=range(1, 7), chosen=range(2, 4), rejected=range(2, 4))
    return make_scene(float64_world(rows), tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def even_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Prompts of one token and completions of one length, where means over sequences and over tokens are the same."""
    rows = letter_rows(8, prompt=range(1, 2), chosen=range(2, 3), rejected=range(2, 3))
    return make_scene(float64_world(rows), tmp_path_factory.mktemp("reference"))
