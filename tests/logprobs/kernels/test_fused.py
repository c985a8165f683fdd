"""The Triton head: errors against float64 under the interpreter, and what a step moves, by fake tensors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from dpo_lightning.compat.torch_products import multiplies_into_float32
from dpo_lightning.logprobs import Statistic
from dpo_lightning.logprobs.kernels import choice, fused
from dpo_lightning.logprobs.linear import linear_logps
from dpo_lightning.logprobs.tiling import Tiling
from dpo_lightning.logprobs.transform import LogitTransform
from tests.logprobs.kernels.interpreted import CASES, CERTAIN, ROUNDED
from tests.logprobs.kernels.traffic import Traffic

REPOSITORY = Path(__file__).resolve().parents[3]
ALL = {**CASES, "rounded products": ROUNDED, "nearly certain, kept": CERTAIN, "nearly certain, computed again": CERTAIN}
# Of one number, rounded once; float32 has sums of many.
ROUNDING = {"float32": 1e-6, "bfloat16": 2.0**-8, "float16": 2.0**-11}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("fused") / "errors.json"
    command = [sys.executable, "-W", "ignore", "-m", "tests.logprobs.kernels.interpreted", str(path)]
    done = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ALL)
def test_it_is_as_exact_as_its_logits(name: str, measured: dict[str, Any]) -> None:
    found, case = measured[name], ALL[name]
    rounding = ROUNDING[case.dtype]
    assert found["logps"] <= 2 * rounding * max(found["largest"], 1)
    assert found["collisions"] <= 2 * rounding * max(found["largest"], 1)
    # A product in half precision that is added to others is rounded once more.
    assert max(found["gradients"]) <= (3 if name == "rounded products" else 2) * rounding


def test_gradients_have_the_dtypes_of_the_parameters(measured: dict[str, Any]) -> None:
    assert {name for name, found in measured.items() if not all(found["dtypes"])} == set()


def test_equal_runs_are_equal_bit_for_bit(measured: dict[str, Any]) -> None:
    for name, found in measured.items():
        assert (found["walked twice"], found["without a graph"]) == (True, True), name


TOKENS, VOCABULARY, WIDTH, COLUMNS = 4000, 128_256, 2048, 4096
"""The head of a Llama of 1 B on a micro-batch: 32 tiles."""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without memory, which a GPU's sizes and products are chosen for."""
    monkeypatch.setattr(choice, "head_kernel", lambda *_: fused.FUSED)
    multiplies_into_float32.cache_clear()
    with FakeTensorMode():
        assert multiplies_into_float32(torch.device("cpu"), torch.bfloat16)
        yield
    multiplies_into_float32.cache_clear()


def head(trained: str, weights: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    hidden = torch.empty(TOKENS, WIDTH, dtype=torch.bfloat16, requires_grad=trained != "nothing")
    weight = torch.empty(VOCABULARY, WIDTH, dtype=weights, requires_grad=trained == "all")
    return hidden, weight, torch.empty(TOKENS, dtype=torch.long)


def step(trained: str, kept_bytes: int = 2**31, weights: torch.dtype = torch.bfloat16) -> None:
    hidden, weight, targets = head(trained, weights)
    tiling = Tiling(fused_columns=COLUMNS, kept_bytes=kept_bytes)
    found = linear_logps(
        hidden, weight, None, targets, LogitTransform(), statistics=[Statistic.LOG_COLLISIONS], tiling=tiling
    )
    if trained != "nothing":
        found.logps.sum().backward()


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("trained", "kept_bytes", "most"),
    [("nothing", 0, 4.1), ("hidden", 0, 9.0), ("all", 2**31, 15.0), ("all", 0, 17.0)],
    ids=["reference", "frozen head", "trained, kept", "trained, computed again"],
)
def test_bytes_of_a_logit(trained: str, kept_bytes: int, most: float) -> None:
    """32 and 36 in PyTorch. What products read of weights and hidden states, and their sums, do not count as logits."""
    with Traffic(WIDTH) as traffic:
        step(trained, kept_bytes)
    assert most - 1 < traffic.bytes / (TOKENS * VOCABULARY) < most


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("trained", "kept_bytes", "products"),
    [("nothing", 0, 1), ("hidden", 0, 2), ("all", 2**31, 3), ("all", 0, 4)],
    ids=["reference", "frozen head", "trained, kept", "trained, computed again"],
)
def test_number_of_products(trained: str, kept_bytes: int, products: int) -> None:
    with Traffic(WIDTH) as traffic:
        step(trained, kept_bytes)
    assert traffic.flops == products * 2 * TOKENS * VOCABULARY * WIDTH


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("weights", [torch.bfloat16, torch.float32], ids=str)
def test_each_tile_of_the_heads_gradient_is_written_once(weights: torch.dtype) -> None:
    """In its own dtype: no [V, D] in float32 beside a weight in bfloat16."""
    with Traffic(WIDTH) as traffic:
        step("all", weights=weights)
    assert traffic.written_into(VOCABULARY, WIDTH) == {weights: VOCABULARY * WIDTH}


@pytest.mark.usefixtures("fake")
def test_tiles_are_freed_by_the_backward() -> None:
    hidden, weight, targets = head("all", torch.bfloat16)
    tiling = Tiling(fused_columns=COLUMNS, kept_bytes=2**31)
    with Traffic(WIDTH) as traffic:
        logps = linear_logps(hidden, weight, None, targets, LogitTransform(), tiling=tiling).logps
        kept = traffic.alive(TOKENS, COLUMNS)
        logps.sum().backward()
    assert (kept, traffic.alive(TOKENS, COLUMNS)) == (32, 0)
