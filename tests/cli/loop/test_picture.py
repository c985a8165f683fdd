"""The picture of the rounds has a panel for each number that is known."""

from __future__ import annotations

import matplotlib.image

from dpo_lightning.cli.loop.outcome import Outcome
from dpo_lightning.cli.loop.picture import draw


def width(path):
    return matplotlib.image.imread(path).shape[1]


def test_a_panel_for_each_known_number(tmp_path):
    whole = [Outcome("1", 0.1, 0.9, 10, 0.6, 0.0), Outcome("2", 0.4, 0.95, 9, 0.7, 0.8)]
    draw([*whole, Outcome("last", 0.6, 0.97, None, None, 1.1)], tmp_path / "four.png")
    draw([each._replace(ended=None, accuracy=None) for each in whole], tmp_path / "two.png")
    assert width(tmp_path / "four.png") == 2 * width(tmp_path / "two.png")
