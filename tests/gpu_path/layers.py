"""One decoder layer beside its attention, as it is written and compiled: `python -m tests.gpu_path.layers` prints both.

A compiled layer is counted by the kernels that inductor would make of it: their reads and writes, each buffer once, and
the products beside them. The compiler is that of a CPU, which fuses about what Triton's does; no kernel is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn

from dpo_lightning.compat import torch_compile
from dpo_lightning.policy.fused_layers import _layers
from dpo_lightning.policy.lora import LoRA, add_lora, with_fast_adapters
from dpo_lightning.utils.torch_modes import compute_dtype
from tests.gpu_path.fake import cuda_choices, fake_tensors, without_values
from tests.gpu_path.meter import Meter
from tests.gpu_path.trace import HEADS, PROFILES, SHAPES, VOCABULARY, Case

PHASES = ("reference", "policy", "backward")
_FEW = 24  # tokens that are really multiplied


class Count(NamedTuple):
    """What a pass of a layer takes beside its attention.

    Attributes:
        launches: Kernels, products among them.
        elementwise: Bytes that others than products read and write.
        products: Bytes that products read and write.
        kept: Bytes that are kept for the backward.
    """

    launches: int = 0
    elementwise: int = 0
    products: int = 0
    kept: int = 0

    def plus(self, elementwise: int, products: int, launches: int = 1) -> Count:
        """Return the count with a kernel more."""
        return Count(self.launches + launches, self.elementwise + elementwise, self.products + products, self.kept)


class Kept:
    """Bytes that a forward keeps for its backward, beside the weights of its model; use it as a context.

    Args:
        model: Whose weights are there anyway.
        few: Length of an axis that stands for `tokens`; what has such an axis is as much larger.
        tokens: Tokens of the batch.
    """

    def __init__(self, model: nn.Module, few: int, tokens: int) -> None:
        self.bytes = 0
        self._few, self._tokens = few, tokens
        self._seen = {each.untyped_storage()._cdata for each in (*model.parameters(), *model.buffers())}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def __enter__(self) -> Kept:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            times = self._tokens // self._few if self._few in tensor.shape else 1
            self.bytes += storage.nbytes() * times
        return tensor


def tokens_of(case: Case) -> int:
    """Return the tokens of a batch, as one row."""
    return case.pairs * sum(PROFILES[case.profile])


class _Attention(torch.autograd.Function):
    """Attention that takes nothing."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        return query.new_empty(query.transpose(1, 2).shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        # As the flash kernel returns them: rows of tokens.
        return tuple(each.new_empty(each.transpose(1, 2).shape).transpose(1, 2) for each in ctx.saved_tensors)


@torch.compiler.disable
def _attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, None]:
    return _Attention.apply(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)), None


def _attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
    dtype = compute_dtype(query)  # the tree's attention rounds in the layer's kernels, and puts tokens first
    return _attend(query.to(dtype).transpose(1, 2), key.to(dtype).transpose(1, 2), value.to(dtype).transpose(1, 2))


def _policy(case: Case, *, joint: bool) -> Any:
    """Build a model of one layer, and of few tokens; `joint` tells adapters that are ours from PEFT's own."""
    from transformers import AttentionInterface, AutoModelForCausalLM, LlamaConfig

    AttentionInterface.register("nothing", _attention)
    shape = {**SHAPES[case.shape], **HEADS, "num_hidden_layers": 1, "vocab_size": 32}
    dtype = torch.bfloat16 if case.precision == "true" else torch.float32
    with patch("torch.nn.init.normal_", lambda tensor, *_, **__: tensor):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**shape, use_cache=False), dtype=dtype)
    model.config._attn_implementation = "nothing"
    if case.mode != "lora":
        return model
    with without_values():
        policy = add_lora(model, LoRA(r=16, alpha=32))
    for weight in policy.parameters():
        weight.data = weight.data.to(dtype)
    return with_fast_adapters(policy, f"bf16-{case.precision}") if joint else policy


def _reference(policy: Any, run: Callable[..., Any], tokens: int, case: Case) -> None:
    """Run a layer without a gradient and adapters."""
    with _mixed(case), torch.no_grad(), ExitStack() as stack:
        if case.mode == "lora":
            stack.enter_context(policy.disable_adapter())
        _run(policy, run, tokens, case)


def _passes(policy: Any, run: Callable[..., Any], tokens: int, case: Case, enter: Callable[[str], Any]) -> int:
    """Run a layer without a gradient and adapters, then with both, and backward; return what it keeps for that."""
    enter("reference")
    _reference(policy, run, tokens, case)
    enter("policy")
    with _mixed(case), Kept(policy, tokens, tokens_of(case)) as kept:
        output = _run(policy, run, tokens, case)
    grad = torch.empty_like(output)
    enter("backward")
    output.backward(grad)
    return kept.bytes


def _mixed(case: Case) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "mixed")


def _run(policy: Any, run: Callable[..., Any], tokens: int, case: Case) -> Tensor:
    (layer,) = _layers(policy)
    dtype = torch.bfloat16 if case.precision == "true" else torch.float32
    config = policy.config
    hidden = torch.empty(1, tokens, config.hidden_size, dtype=dtype, requires_grad=True)
    angles = torch.empty(2, 1, tokens, config.head_dim, dtype=dtype)
    output: Tensor = run(layer, hidden, position_embeddings=tuple(angles))
    return output


def as_written(case: Case, *, joint: bool = True) -> dict[str, Count]:
    """Count the passes of a layer operation by operation."""
    meter = Meter()
    with fake_tensors():
        policy = _policy(case, joint=joint)
        with cuda_choices(VOCABULARY), meter:
            meter.begin("before")
            kept = _passes(policy, nn.Module.__call__, tokens_of(case), case, meter.enter)
    found: dict[str, Count] = dict.fromkeys(PHASES, Count()) | {"policy": Count(kept=kept)}
    for each in meter.operations:
        if each.phase in found:
            sizes = (0, each.bytes) if each.flops else (each.bytes, 0)
            found[each.phase] = found[each.phase].plus(*sizes, each.launches)
    return found


def compiled(case: Case, *, joint: bool = True, trained: bool = True) -> dict[str, Count]:
    """Count the passes of a layer as the compiler makes them, told that a batch has as many tokens as the case's.

    With `trained=False` only the pass without a gradient, which takes a third of the time.
    """
    found: dict[str, Count] = dict.fromkeys(PHASES, Count())
    phase = [PHASES[0]]

    def enter(name: str) -> None:
        phase[0] = name

    def note(backward: bool, elementwise: int, products: int) -> None:
        name = "backward" if backward else phase[0]
        found[name] = found[name].plus(elementwise, products)

    policy = _policy(case, joint=joint)
    torch._dynamo.reset()
    (layer,) = _layers(policy)
    form = torch_compile.compiled_forms(type(layer).forward)[0]
    hints = {1: (tokens_of(case),), 2: (tokens_of(case), 1)}
    with patch.object(torch_compile, "_HINTS", hints), patch.object(torch_compile, "_LONGEST", 2**31), _kernels(note):
        if trained:
            kept = _passes(policy, form, _FEW, case, enter)
            found["policy"] = found["policy"]._replace(kept=kept)
        else:
            _reference(policy, form, _FEW, case)
    torch._dynamo.reset()
    return found


@contextmanager
def _kernels(note: Callable[[bool, int, int], None]) -> Iterator[None]:
    """Tell of each kernel of the graphs that are compiled inside the block, and build none."""
    import torch._inductor.config
    from torch._inductor.async_compile import AsyncCompile
    from torch._inductor.codegen.cpp import CppKernel
    from torch._inductor.graph import GraphLowering
    from torch._inductor.scheduler import ExternKernelSchedulerNode, NopKernelSchedulerNode

    generate = GraphLowering.codegen

    def codegen(graph: Any, *args: Any, **kwargs: Any) -> Any:
        result = generate(graph, *args, **kwargs)
        for node in graph.scheduler.nodes:
            size = node.get_read_write_buffers_sizes()
            if isinstance(node, NopKernelSchedulerNode):
                continue
            product = isinstance(node, ExternKernelSchedulerNode)
            note(bool(graph.is_backward), 0 if product else size, size if product else 0)
        return result

    nothing = lambda *_, **__: lambda *_, **__: None  # noqa: E731
    with (
        patch.object(GraphLowering, "codegen", codegen),
        patch.object(AsyncCompile, "cpp_pybinding", nothing),
        patch.object(
            CppKernel, "need_use_acc_helper", lambda *_: False, create=True
        ),  # a guard on sizes, of CPUs alone
        # Triton's kernels compute the halves that RoPE puts together where they read them; those of a CPU write them.
        torch._inductor.config.patch(fx_graph_cache=False, force_pointwise_cat=True),
        torch._functorch.config.patch(enable_autograd_cache=False),
    ):
        yield


def main() -> None:
    """Print a line for each pass."""
    from tests.gpu_path.bounds import CASES

    for name, case in CASES.items():
        forms: dict[str, Any] = {
            "as written": lambda case=case: as_written(case),
            "compiled": lambda case=case: compiled(case),
        }
        if case.mode == "lora":
            forms["as PEFT writes it"] = lambda case=case: as_written(case, joint=False)
            forms["PEFT's, compiled"] = lambda case=case: compiled(case, joint=False)
        for form, count in forms.items():
            for phase, each in count().items():
                sizes = f"{each.elementwise / 1e9:8.3f} GB {each.products / 1e9:8.3f} GB of products"
                kept = f", {each.kept / 1e9:6.3f} GB kept" if each.kept else ""
                print(f"{name:22}{form:20}{phase:12}{each.launches:5} launches {sizes}{kept}", flush=True)


if __name__ == "__main__":
    main()
