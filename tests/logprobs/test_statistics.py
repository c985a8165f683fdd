"""Statistics of a token's distribution: by hand, against float64, whole and tile by tile."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lightning.logprobs import Statistic, statistics_read
from dpo_lightning.logprobs.statistics import collisions_from_logits
from dpo_lightning.losses import DPO, WPO, Reads

TOKENS, VOCAB = 50, 96


def test_collisions_by_hand() -> None:
    # Weights 1, 2 and 5: (1 + 4 + 25) / 64; even ones: 1/3; one that is certain: 1.
    logits = torch.tensor([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]).log()

    assert collisions_from_logits(logits).tolist() == pytest.approx([math.log(30 / 64), -math.log(3), 0.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_collisions_against_float64(size: float, dtype: torch.dtype) -> None:
    logits = (size * torch.randn(TOKENS, VOCAB, dtype=torch.float64)).to(dtype)

    found = collisions_from_logits(logits)

    assert found.dtype == torch.float32
    exact = logits.double().softmax(-1).square().sum(-1).log()
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("statistic", Statistic, ids=lambda statistic: statistic.name)
@pytest.mark.parametrize("tile", [1, 7, VOCAB])
def test_the_sums_over_tiles_are_the_formula_over_all_logits(statistic: Statistic, tile: int) -> None:
    logits = 30 * torch.randn(TOKENS, VOCAB, dtype=torch.float64)
    total = torch.zeros(TOKENS, 1, dtype=torch.float64)
    shift = torch.full_like(total, -torch.inf)
    sums = statistic.value.tile_sums(total)
    for part in logits.split(tile, dim=1):
        before, shift = shift, torch.maximum(shift, part.amax(1, keepdim=True))
        decay, exponentials = (before - shift).exp(), (part - shift).exp()
        total = total * decay + exponentials.sum(1, keepdim=True)
        sums.add(exponentials, decay)

    torch.testing.assert_close(sums.value(total), statistic.value.of_logits(logits), rtol=0, atol=1e-12)


def test_an_objective_says_which_statistics_it_reads() -> None:
    assert list(statistics_read(DPO().reads)) == []
    assert list(statistics_read(WPO(DPO()).reads)) == [Statistic.LOG_COLLISIONS]
    assert set(statistics_read(~Reads.NOTHING)) == set(Statistic)
