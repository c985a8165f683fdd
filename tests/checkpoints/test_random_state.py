"""Random numbers go on where they were."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from dpo_lightning.checkpoints.random_state import RandomNumbers, random_state, set_random_state


def test_random_numbers_go_on():
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.normal()), torch.randn(()).item()

    np.random.normal()  # leaves one of a pair behind
    torch.randn(())
    state = RandomNumbers.now()
    expected = [draw() for _ in range(3)]
    draw()
    set_random_state(state.plain())
    assert [draw() for _ in range(3)] == expected


def test_a_file_of_plain_types_holds_the_state(tmp_path: Path) -> None:
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    torch.save(random_state(), tmp_path / "state.pt")
    random.random(), np.random.random(), torch.rand(())

    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))

    assert random.getstate() == before[0]
    assert all(np.array_equal(one, other) for one, other in zip(np.random.get_state(), before[1], strict=True))
    assert torch.equal(torch.get_rng_state(), before[2])
