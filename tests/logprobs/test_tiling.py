"""Tiles are as large as their device wants them."""

from __future__ import annotations

from dpo_lightning.logprobs.tiling import TILING, Tiling


def test_a_cpu_has_tiles_of_its_own() -> None:
    tiling = Tiling(logits=70, cpu_logits=30)

    assert tiling.tile_logits("cpu") == 30
    assert tiling.tile_logits("cuda") == 70


def test_the_defaults_are_a_quarter_of_a_gibibyte_in_float32() -> None:
    assert TILING.logits * 4 == TILING.kept_bytes == 256 * 2**20
