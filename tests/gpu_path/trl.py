"""One training step of TRL 1.16 at its best, traced as ours is: `python -m tests.gpu_path.trl` prints what it takes.

Its best: Liger's norms, RoPE and gate, a flash kernel, its own chunked head by Triton, no checkpointing, fused AdamW.
Rows have the lengths of the profile, so the padding is that of a pair's shorter completion alone: batches of real
lengths have more. Its head, the model and autograd are the code that people run; kernels that no fake tensor can run
count as what they read and write. What TRL does beside the models, and the update of its metrics, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn

from dpo_lightning.policy.lora import LoRA, add_lora
from tests.gpu_path.fake import cuda_choices, fake_tensors, without_values
from tests.gpu_path.meter import Meter, Sum
from tests.gpu_path.trace import PROFILES, SHAPES, VOCABULARY, Case, llama

_COLUMNS = 32768  # of a tile of its head
_FLASH = "flash_that_is_counted"
_BACKWARD_KERNELS = 5  # of a flash kernel, as of ours


class Step(NamedTuple):
    """What a step of TRL comes to; sizes in bytes.

    Attributes:
        models: Sum over both models, their heads and the backward.
        attention: Floating-point operations of attention.
        update: Traffic of the optimizer, and of clipping.
        held: Weights and the optimizer's state.
        kept: Kept for the backward.
        peak: The most memory beside what is held.
    """

    models: Sum
    attention: float
    update: int
    held: int
    kept: int
    peak: int


def row_length(case: Case) -> int:
    """Return the tokens of each of the `2P` rows: a prompt, and the longer of its completions."""
    prompt, chosen, rejected = PROFILES[case.profile]
    return prompt + max(chosen, rejected)


def step(case: Case) -> Step:
    """Trace one step."""
    meter = Meter()
    with ExitStack() as stack:
        stack.enter_context(fake_tensors())
        stack.enter_context(without_values())
        policy, reference = _models(case)
        stack.enter_context(cuda_choices(VOCABULARY))
        stack.enter_context(_best_kernels(meter))
        weights = {id(each): each for model in (policy, reference) for each in model.parameters()}
        trained = sum(_size(each) for each in policy.parameters() if each.requires_grad)
        stack.enter_context(meter)
        meter.ignore(weights.values())
        batch = _Batch.of(case)
        before = meter.live
        meter.begin("step")
        with torch.no_grad(), policy.disable_adapter() if policy is reference else nullcontext():
            _logps(reference, batch, case)
        logps = _logps(policy, batch, case)
        kept = meter.live - before
        logps.sum().backward()
        meter.stop()
    passes = 7 + (3 if dict(case.trainer).get("gradient_clip_val") else 0)
    held = sum(map(_size, weights.values())) + 2 * trained
    return Step(meter.sums()["step"], _attention_work(case), passes * trained, held, kept, meter.peak["step"] - before)


def whole(case: Case) -> Step:
    """Return what a step of the whole model takes, from two small traces: layers are alike."""
    fewer, more = (step(replace(case, layers=layers)) for layers in (1, 2))
    further = SHAPES[case.shape]["num_hidden_layers"] - 1
    sums = Sum(*(_further(getattr(fewer.models, name), getattr(more.models, name), further) for name in _FIGURES))
    return Step(sums, *(_further(one, two, further) for one, two in zip(fewer[1:], more[1:], strict=True)))


_FIGURES = ("launches", "flops", "attention", "elementwise", "products")


def _further(fewer: Any, more: Any, layers: int) -> Any:
    return fewer + layers * (more - fewer)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _attention_work(case: Case) -> float:
    """Return four products forward, twice, and ten backward, of each pair of a query and a key that it sees."""
    length, shape = row_length(case), SHAPES[case.shape]
    visible = 2 * case.pairs * length * (length + 1) // 2
    return 18.0 * visible * shape["hidden_size"] * (case.layers or shape["num_hidden_layers"])


def _models(case: Case) -> tuple[Any, Any]:
    """Build policy and reference: float32 of both under autocast, and one bfloat16 base with adapters for LoRA."""
    policy = llama(case)
    if case.mode == "full":
        reference = llama(case)
        return policy, reference.requires_grad_(False)
    adapted = add_lora(policy.to(torch.bfloat16), LoRA(r=16, alpha=32)).to(torch.bfloat16)
    return adapted, adapted


class _Batch(NamedTuple):
    """Ids `[R, L]`; row and column of each token that predicts a scored one, and that."""

    ids: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor

    @classmethod
    def of(cls, case: Case) -> _Batch:
        _, chosen, rejected = PROFILES[case.profile]
        ids = torch.zeros(2 * case.pairs, row_length(case), dtype=torch.long)
        return cls(ids, *(torch.zeros(case.pairs * (chosen + rejected), dtype=torch.long) for _ in range(3)))


def _logps(model: Any, batch: _Batch, case: Case) -> Tensor:
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "mixed"):
        causal = model.get_base_model() if case.mode == "lora" else model
        hidden = causal.model(input_ids=batch.ids).last_hidden_state[:, :-1]
        scored, weight = hidden[batch.rows, batch.columns], causal.get_output_embeddings().weight
        logps, *_ = ChunkedLogProbFunction.apply(scored, weight, None, batch.targets, 1.0, _COLUMNS, None, 1.0, ())
    result: Tensor = logps
    return result


@contextmanager
def _best_kernels(meter: Meter) -> Iterator[None]:
    """Put kernels that are counted, inside the block, where Liger's, flash attention and TRL's Triton would run."""
    from transformers import AttentionInterface
    from transformers.models.llama import modeling_llama
    from trl.kernels import chunked_logprob

    def norm(module: Any, hidden: Tensor) -> Any:
        return _Norm.apply(meter, hidden, module.weight)

    def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *_: Any) -> Any:
        return _Rotation.apply(meter, query, key, cos, sin)

    def gate(module: Any, hidden: Tensor) -> Any:
        return module.down_proj(_Gate.apply(meter, module.gate_proj(hidden), module.up_proj(hidden)))

    def attend(_: nn.Module, query: Tensor, key: Tensor, value: Tensor, *__: Any, **___: Any) -> Any:
        return _Flash.apply(meter, query, key, value), None

    def add_product(sums: Tensor, left: Tensor, right: Tensor) -> None:
        torch.addmm(sums, left, right, out_dtype=torch.float32, out=sums)

    AttentionInterface.register(_FLASH, attend)
    kernels = {"_forward_kernel": _Folds(meter, writes=False), "_backward_kernel": _Folds(meter, writes=True)}
    with (
        patch.object(modeling_llama.LlamaRMSNorm, "forward", norm),
        patch.object(modeling_llama, "apply_rotary_pos_emb", rotate),
        patch.object(modeling_llama.LlamaMLP, "forward", gate),
        patch.object(modeling_llama.LlamaConfig, "_attn_implementation", _FLASH),
        patch.multiple(chunked_logprob, _use_triton=lambda _: True, _addmm_fp32=add_product, **kernels),
    ):
        yield


class _Folds:
    """A kernel of TRL's head, over a grid: it reads a tile of logits once, and may write it."""

    def __init__(self, meter: Meter, *, writes: bool) -> None:
        self._meter, self._writes = meter, writes

    def __getitem__(self, grid: Sequence[int]) -> Any:
        def run(tile: Tensor, *_: Any, **__: Any) -> None:
            with self._meter.one_kernel("fold", [tile], [tile] if self._writes else []):
                pass

        return run


class _Norm(torch.autograd.Function):
    """Liger's RMSNorm, in the dtype of its input; its backward writes over the gradient that it gets."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, hidden: Tensor, weight: Tensor) -> Tensor:
        with meter.one_kernel("norm", [hidden, weight]) as made:
            made += [torch.empty_like(hidden), hidden.new_empty(hidden.shape[:-1], dtype=torch.float32)]
        ctx.meter = meter
        ctx.save_for_backward(hidden, weight, made[1])
        return made[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        hidden, weight, factors = ctx.saved_tensors
        with ctx.meter.one_kernel("norm backward", [grad, hidden, weight, factors], [grad]):
            summed = torch.empty_like(weight)
        return None, grad, summed


class _Rotation(torch.autograd.Function):
    """Liger's RoPE: queries and keys are written over, and so are their gradients."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> Any:
        with meter.one_kernel("rope", [query, key, cos, sin], [query, key]):
            pass
        ctx.meter = meter
        ctx.save_for_backward(cos, sin)
        return query, key

    @staticmethod
    def backward(ctx: Any, query: Tensor, key: Tensor) -> Any:  # type: ignore[override]
        with ctx.meter.one_kernel("rope backward", [query, key, *ctx.saved_tensors], [query, key]):
            pass
        return None, query, key, None, None


class _Gate(torch.autograd.Function):
    """Liger's SwiGLU; its backward computes the result again from both inputs, and writes over them."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, gate: Tensor, up: Tensor) -> Tensor:
        with meter.one_kernel("gate", [gate, up]) as made:
            made.append(torch.empty_like(gate))
        ctx.meter = meter
        ctx.save_for_backward(gate, up)
        return made[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        gate, up = ctx.saved_tensors
        with ctx.meter.one_kernel("gate backward", [grad, gate, up], [gate, up]):
            pass
        return None, gate, up


class _Flash(torch.autograd.Function):
    """A flash kernel over padded rows, which takes grouped heads as they are."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with meter.one_kernel("flash", [query, key, value]) as made:
            output = torch.empty_like(query.transpose(1, 2))
            made += [output, query.new_empty(query.shape[:-1], dtype=torch.float32)]
        ctx.meter = meter
        ctx.save_for_backward(query, key, value, *made)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        inputs = ctx.saved_tensors[:3]
        with ctx.meter.one_kernel("flash backward", [grad, *ctx.saved_tensors]) as made:
            made += [torch.empty_like(each.transpose(1, 2)).transpose(1, 2) for each in inputs]
        for _ in range(_BACKWARD_KERNELS - 1):
            with ctx.meter.one_kernel("flash backward", []):
                pass
        return None, *made


def main() -> None:
    """Print a line for each case."""
    from tests.gpu_path.bounds import CASES

    for name, case in CASES.items():
        found = whole(case)
        sizes = f"{found.models.elementwise / 1e9:7.1f} GB {found.models.flops / 1e12:7.1f} TFLOP"
        memory = f"{found.held / 1e9:6.1f} held {found.kept / 1e9:6.1f} kept {found.peak / 1e9:6.1f} GB peak"
        print(f"{name:22}{found.models.launches:6} launches {sizes}, {memory}", flush=True)


if __name__ == "__main__":
    main()
