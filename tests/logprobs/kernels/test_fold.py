"""Triton compiles the kernels for GPUs that are not here, and reads and writes a tile in vectors."""

from __future__ import annotations

import re
from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dpo_lightning.logprobs.kernels import fold

POINTERS = {"targets": "*i64", **dict.fromkeys(("raw", "source", "written"), "*bf16"), "bias": "*bf16"}
NUMBERS = {**dict.fromkeys(("start", "width", "count", "stride", "written_stride"), "i32"), "scale": "fp32"}
TYPES = {**POINTERS, **NUMBERS, "softcap": "fp32"}
BLOCK = 4096
FOLD = {"BIASED": True, "CAPPED": True, "SQUARED": True, "WRITTEN": True, "KEPT": True, "HIDDEN": 2048}
CASES = [
    (fold._fold, {**FOLD, "BLOCK": BLOCK, "WIDTH_BLOCK": 1024}),
    (fold._coefficients, {"BIASED": False, "CAPPED": False, "KEPT": True, "BLOCK": BLOCK}),
]


def assembly(kernel: Any, constants: dict[str, Any], capability: int) -> str:
    """The kernel's PTX where everything that may be aligned is, as the launcher finds it."""
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else TYPES.get(name, "*fp32") for name in names}
    aligned = [number for number, name in enumerate(names) if name not in ("count", "scale", "softcap", *constants)]
    source = ASTSource(
        kernel,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(number,): [["tt.divisibility", 16]] for number in aligned},
    )
    compiled = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": fold._warps(BLOCK)}
    )
    assert compiled.asm["cubin"]
    return compiled.asm["ptx"]


@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100"])
@pytest.mark.parametrize(("kernel", "constants"), CASES, ids=["fold", "coefficients"])
def test_it_compiles_and_moves_a_tile_in_vectors(
    kernel: Any, constants: dict[str, Any], capability: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    text = assembly(kernel, constants, capability)
    # 16 logits a thread, in bfloat16: two vectors of 16 bytes, and none of them alone.
    assert len(re.findall(r"ld\.global\.v4", text)) >= 2
    assert len(re.findall(r"st\.global\.v4", text)) >= 2
    assert not re.findall(r"(?:ld|st)\.global\.b16", text)


def test_a_program_has_a_thread_for_sixteen_logits() -> None:
    assert [fold._warps(block) for block in (16, 1024, 4096, 8192, 16384)] == [1, 2, 8, 16, 16]
