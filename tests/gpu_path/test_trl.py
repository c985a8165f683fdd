"""TRL's step is counted as it is by hand: products, head, attention, optimizer, memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.gpu_path.bounds import CASES
from tests.gpu_path.trace import VOCABULARY
from tests.gpu_path.trl import row_length, step

HIDDEN, INNER, KEYS = 2048, 8192, 512
LAYER = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEYS + 3 * HIDDEN * INNER  # weights of its products
HEAD = VOCABULARY * HIDDEN
TOKENS, SCORED = 2 * 64 * 175, 64 * 92


def test_a_row_is_a_prompt_and_the_longer_completion() -> None:
    assert [row_length(CASES[name]) for name in ("1b full mixed hh 64", "8b lora true long 2")] == [175, 3300]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_full_fine_tuning_takes_what_it_takes_by_hand() -> None:
    """Fails where something is computed twice, left out, or held twice."""
    found = step(replace(CASES["1b full mixed hh 64"], layers=1))

    # Two forwards and the backward's two products; of the head one more, since its logits are made again.
    assert found.models.flops == 2 * (4 * LAYER * TOKENS + 5 * HEAD * SCORED)
    assert found.attention == 18 * HIDDEN * 64 * 2 * 175 * 176 / 2
    weights = LAYER + HEAD + 3 * HIDDEN
    assert found.held == 4 * weights * 4  # both models, and two moments
    assert found.update == (7 + 3) * 4 * weights  # AdamW reads four and writes three; the norm, and its product
    # Of each token: two norms' inputs in float32, and in half precision what the seven products and attention get.
    kept = 4 * 2 * HIDDEN + 2 * (3 * HIDDEN + 2 * KEYS + 3 * INNER)
    by_hand = kept * TOKENS + 2 * (LAYER + HEAD)  # with autocast's copies
    assert by_hand < found.kept < by_hand + 4 * TOKENS * HIDDEN
    assert found.kept < found.peak < found.kept + 8 * HEAD


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_adapters_hold_one_model_and_take_no_products_of_its_weights() -> None:
    found = step(replace(CASES["8b lora true uf 8"], layers=1))
    wide, inner = 4096, 14336
    layer = 2 * wide * wide + 2 * wide * 1024 + 3 * wide * inner
    tokens, scored = 2 * 8 * 500, 8 * 580
    first = wide * wide + 2 * wide * 1024  # the input of the first layer needs no gradient
    base = 2 * ((3 * layer - first) * tokens + 4 * VOCABULARY * wide * scored)
    assert base < found.models.flops < 1.02 * base
    assert 2 * (layer + 2 * VOCABULARY * wide) < found.held < 2.02 * (layer + 2 * VOCABULARY * wide)
