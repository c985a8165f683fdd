"""What a step has to compute, counted, and how fast this machine multiplies matrices, measured.

python -m benchmarks.roofline SPEC OUTPUT    # JSON in, GFLOP/s out; run by `compare.py` in a process of its own
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:  # in a process of its own it would cost seconds
    from dpo_lightning import TokenizedExample

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SQUARES = (1024, 2048)
TOKENS = 2048
"""Rows of the model-shaped products."""
REPEATS = 8


class Work(NamedTuple):
    """Tokens in a set of examples: every token once, those that are scored, and (query, key) pairs in causal sight."""

    tokens: int
    scored: int
    visible: int


def count_work(examples: Iterable[TokenizedExample]) -> Work:
    """Count without padding, each prompt once: the least that any implementation has to do."""
    tokens = scored = visible = 0
    for each in examples:
        prompt, completions = len(each.prompt_ids), [*map(len, each.completion_ids)]
        tokens += prompt + sum(completions)
        scored += sum(completions)
        # Σ over the queries of what stands before them in their own sequence, themselves included.
        visible += prompt * (prompt + 1) // 2
        visible += sum(length * prompt + length * (length + 1) // 2 for length in completions)
    return Work(tokens, scored, visible)


def useful_flops(work: Work, config: Mapping[str, Any], lora_rank: int | None, *, online: bool = True) -> float:
    """Floating-point operations of training on these examples once, for a Llama, with an `online` reference or without.

    A product of `[m, k]` and `[k, n]` is 2mkn. A forward has 2 × body weights × tokens, 2VD × scored tokens in the head
    and 4 × heads × head size × visible pairs in each layer's attention. The backward repeats a product once for its
    input and once for its weight; a frozen weight (LoRA, the head included) saves the second. Attention has no weight:
    both of its operands are activations. The reference is one more forward. Elementwise work, the embedding's lookup
    and the optimizer count as nothing.
    """
    linear = _linear_shapes(config)
    layers = config["num_hidden_layers"]
    body = 2.0 * layers * sum(rows * columns for rows, columns in linear) * work.tokens
    head = 2.0 * config["vocab_size"] * config["hidden_size"] * work.scored
    attention = 4.0 * layers * config["num_attention_heads"] * _head_size(config) * work.visible
    reference = (body + head + attention) if online else 0.0
    if lora_rank is None:
        return reference + 3 * (body + head + attention)
    adapters = 2.0 * layers * sum(lora_rank * (rows + columns) for rows, columns in linear) * work.tokens
    return reference + 2 * (body + head) + 3 * (attention + adapters)


def _head_size(config: Mapping[str, Any]) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _linear_shapes(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Input and output size of the linear layers of a block."""
    width, inner, head = config["hidden_size"], config["intermediate_size"], _head_size(config)
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    attention = [(width, queries), (width, keys), (width, keys), (queries, width)]
    return [*attention, (width, inner), (width, inner), (inner, width)]


def gemm_peak(precision: str, device: str, config: Mapping[str, Any]) -> float:
    """GFLOP/s of the fastest matrix product, among squares and the model's own shapes, best of some repeats."""
    shapes = [(size, size, size) for size in SQUARES]
    shapes += [(TOKENS, rows, columns) for rows, columns in _linear_shapes(config)]
    shapes.append((TOKENS, config["hidden_size"], config["vocab_size"]))
    return max(gflops(shape, DTYPES[precision], device) for shape in set(shapes))


def gflops(shape: tuple[int, int, int], dtype: torch.dtype, device: str) -> float:
    """GFLOP/s of the product of an [m, k] and a [k, n] matrix, best of some repeats."""
    m, k, n = shape
    left = torch.randn(m, k, device=device).to(dtype)
    # As a linear layer has it: [out, in].
    right = torch.randn(n, k, device=device).to(dtype).T
    out = torch.empty(m, n, device=device, dtype=dtype)
    seconds = min(_seconds(left, right, out) for _ in range(REPEATS))
    return 2e-9 * m * k * n / seconds


def _seconds(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> float:
    _wait(out)
    start = time.perf_counter()
    torch.mm(left, right, out=out)
    _wait(out)
    return time.perf_counter() - start


def _wait(tensor: torch.Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    spec, output = (Path(argument) for argument in sys.argv[1:])
    settings = json.loads(spec.read_text(encoding="utf-8"))
    figures = {"gemm_gflops": gemm_peak(**settings), "threads": torch.get_num_threads()}
    output.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
