"""docs/objectives.md says what the docstrings say now, of every objective, with a picture that shows it."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from dpo_lightning.losses import DPO, KTO, RowWeighted
from tools.docs import objective_plots, objectives


def test_the_document_is_up_to_date():
    assert objectives.DOCUMENT.read_text(encoding="utf-8") == objectives.document(), (
        "run python -m tools.docs.objectives"
    )


@pytest.mark.parametrize("kind", objectives.kinds(), ids=lambda kind: kind.__name__)
def test_each_objective_says_what_a_reader_needs(kind):
    found = objectives.entry(kind)

    assert found.equations, "no `.. math::` block"
    assert found.sources or kind is RowWeighted, "no source"  # a product needs none
    assert list(found.settings) == [field.name for field in dataclasses.fields(kind)]
    assert found.purpose
    assert found.reward
    assert (objectives.PICTURES / f"{kind.__name__}.png").stat().st_size > 2000


def test_every_file_of_pictures_is_shown():
    shown = re.findall(r"\(objectives/(\w+)\.png\)", objectives.DOCUMENT.read_text(encoding="utf-8"))

    assert sorted(shown) == sorted(path.stem for path in objectives.PICTURES.iterdir())


def test_the_page_is_one_table_with_as_many_cells_in_each_row():
    lines = [line for line in "".join(objectives._table()).splitlines() if line]

    assert len(lines) == len(objectives.kinds()) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {7}


def test_the_picture_moves_one_completion_at_a_time():
    # beta 0.1, 5 nats: log(1 + e^-0.5) where the chosen one has moved, log(1 + e^0.5) where the rejected one has.
    move = torch.tensor(5.0, dtype=torch.float64)

    assert objective_plots._loss(DPO(), move, 0).item() == pytest.approx(0.4740769841801067)
    assert objective_plots._loss(DPO(), move, 1).item() == pytest.approx(0.9740769841801067)
    # 1 - sigma(0.5), and sigma(0.5).
    assert objective_plots._loss(KTO(), move, 0).item() == pytest.approx(0.3775406687981454)
    assert objective_plots._loss(KTO(), move, 1).item() == pytest.approx(0.6224593312018546)
