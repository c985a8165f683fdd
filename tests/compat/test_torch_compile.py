"""torch's compiler makes the same kernels whatever batch comes first, rounds as layers do, and says when it fails."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import compile_fx

from dpo_lightning.compat.torch_compile import compiled_forms, fixed_kernels, has_gpu_compiler, is_compiler_error


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


class Gated(nn.Module):
    """A norm and a gate, with sums over the rows in the backward."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 16))

    def forward(self, values: Tensor) -> Tensor:
        normed = values * torch.rsqrt(values.float().square().mean(-1, keepdim=True) + 1e-6).to(values.dtype)
        return torch.nn.functional.silu(self.weight.to(values.dtype) * normed) * values


def test_kernels_are_those_of_fixed_sizes_and_round_as_the_layer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[list[int]] = []
    inner = compile_fx.compile_fx_inner

    def noted(graph: Any, inputs: Any, **options: Any) -> Any:
        environment: Any = torch._guards.TracingContext.get().fake_mode.shape_env  # type: ignore[union-attr]
        sizes.append(sorted(map(int, environment.backed_var_to_val.values())))
        assert torch._inductor.config.emulate_precision_casts
        assert not torch._inductor.config.shape_padding
        return inner(graph, inputs, **options)

    monkeypatch.setattr(compile_fx, "compile_fx_inner", noted)
    layer = Gated()
    plain = copy.deepcopy(layer)
    run = compiled_forms(layer)[0]
    with torch._inductor.config.patch(fx_graph_cache=False):
        for rows in (3, 40):
            values = torch.linspace(-2, 2, 2 * rows * 16).reshape(2, rows, 16).to(torch.bfloat16)
            assert torch.equal(run(values), plain(values))
            run(values).float().sum().backward()
            plain(values).float().sum().backward()
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad, rtol=1e-5, atol=1e-5)
    # Width, 2 rows and their length, of a forward and a backward that are compiled once for all lengths.
    assert sizes == [[16, 16, 256]] * 2


def test_an_error_of_the_compiler_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise ValueError("no compiler")

    monkeypatch.setattr("dpo_lightning.compat.torch_compile.fixed_kernels", fails)
    for form in compiled_forms(Gated()):
        with pytest.raises(RuntimeError) as raised:
            form(torch.ones(2, 3, 16))
        assert is_compiler_error(raised.value)
    assert not is_compiler_error(RuntimeError("of the layer"))


def test_the_setting_of_graphs_is_as_it_was_after_a_call() -> None:
    config: Any = torch._dynamo.config
    before = config.nested_graph_breaks
    seen: list[bool] = []

    def function(values: Tensor) -> Tensor:
        return values + 1

    def backend(graph: Any, inputs: Any) -> Any:
        seen.append(config.nested_graph_breaks)
        return graph.forward

    assert fixed_kernels.__module__ == "dpo_lightning.compat.torch_compile"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dpo_lightning.compat.torch_compile.fixed_kernels", backend)
        compiled_forms(function)[0](torch.ones(3))
    assert seen == [True]
    assert config.nested_graph_breaks is before


def test_a_gpu_compiler_is_looked_for() -> None:
    assert has_gpu_compiler() is torch.cuda.is_available()
