"""Tiles are as large as their device wants them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dpo_lightning.logprobs.tiling import LEAST_KEPT, TILING, Tiling, balanced

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
H200 = SimpleNamespace(total_memory=150 * 10**9, L2_cache_size=60 * 2**20)


@pytest.fixture
def device_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: device and H200)


def test_a_cpu_has_tiles_of_its_own() -> None:
    tiling = Tiling(logits=70, cpu_logits=30)

    assert tiling.tile_logits("cpu") == 30
    assert tiling.tile_logits("cuda") == 70


def test_the_defaults_are_a_quarter_of_a_gibibyte_in_float32() -> None:
    assert TILING.logits * 4 == TILING.kept_on(CPU) == LEAST_KEPT == 256 * 2**20


@pytest.mark.usefixtures("device_is")
def test_a_gpu_keeps_a_twentieth_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TILING.kept_on(CUDA) == 7_500_000_000
    assert Tiling(kept_bytes=5).kept_on(CUDA) == 5
    monkeypatch.setattr(H200, "total_memory", 10**9)
    assert TILING.kept_on(CUDA) == LEAST_KEPT


@pytest.mark.parametrize(
    ("rows", "vocabulary", "cache", "columns"),
    [
        (4096, 128_256, 60, 4096),  # 32 of 40 MiB
        (4096, 128_256, 126, 8192),
        (4096, 128_256, 6, 2048),
        (1000, 128_256, 60, 8192),
        (1000, 3000, 60, 4096),
        (1000, 4096, 60, 4096),
        (1000, 1, 60, 16),
    ],
)
@pytest.mark.usefixtures("device_is")
def test_a_tile_fits_the_cache_of_the_gpu(
    rows: int, vocabulary: int, cache: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(H200, "L2_cache_size", cache * 2**20)
    assert TILING.columns_on(CUDA, rows, vocabulary) == columns


@pytest.mark.usefixtures("device_is")
def test_a_torch_that_tells_no_cache_has_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(H200, "L2_cache_size")
    assert TILING.columns_on(CUDA, 4096, 10**5) == TILING.columns_on(CPU, 4096, 10**5) == 2048


@pytest.mark.parametrize(
    ("start", "stop", "most", "sizes"),
    [
        (0, 5888, 4096, [3072, 2816]),
        (0, 4100, 4096, [2304, 1796]),
        (0, 4096, 4096, [4096]),
        (100, 110, 4096, [10]),
        (0, 10, 4, [4, 4, 2]),
        (7, 7, 4, []),
    ],
)
def test_chunks_are_few_and_about_as_long(start: int, stop: int, most: int, sizes: list[int]) -> None:
    pieces = balanced(start, stop, most)

    assert [piece.stop - piece.start for piece in pieces] == sizes
    assert [index for piece in pieces for index in range(piece.start, piece.stop)] == list(range(start, stop))
