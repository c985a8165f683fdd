"""torch's compiler where a run must compute the same numbers again: kernels that do not depend on the first batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch

_MOST_GRAPHS = 64
_HINTS: dict[int, tuple[int, ...]] = {1: (4096,), 2: (256, 16)}
_LONGEST = 2**15
_OPTIONS = {
    # A product is padded or not by a stopwatch.
    "shape_padding": False,
    # Rounds where the model rounds, so that a graph with a backward and one without make the same numbers.
    "emulate_precision_casts": True,
}


def compiled_forms(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Compile a function for tensors of any size, with a graph for each mode that it is called in; best form first.

    In the first form the code on both sides of a call that is not compiled is one graph each, also where the call is
    deep inside. Sets `torch._dynamo.config.nested_graph_breaks` while it runs, which is off in torch 2.13; where there
    is no such setting, or it fails, graphs end with each function around the call. The limit of graphs is 64 for the
    function alone, where torch keeps it apart (2.13); before, torch's own limit of 8, beyond which it runs as it is.
    """
    import torch._dynamo.config

    known = inspect.signature(torch.compile).parameters
    apart = {"recompile_limit": _MOST_GRAPHS, "isolate_recompiles": True}
    given: Any = {name: value for name, value in apart.items() if name in known}
    run: Callable[..., Any] = torch.compile(function, dynamic=True, backend=fixed_kernels, **given)
    if not hasattr(torch._dynamo.config, "nested_graph_breaks"):
        return [run]

    def in_one_graph(*args: Any, **kwargs: Any) -> Any:
        config: Any = torch._dynamo.config
        before = config.nested_graph_breaks
        config.nested_graph_breaks = True  # its `patch` takes 48 us, of a layer's 200
        try:
            return run(*args, **kwargs)
        finally:
            config.nested_graph_breaks = before

    return [in_one_graph, run]


def fixed_kernels(graph: Any, inputs: Any) -> Callable[..., Any]:
    """Compile a graph with inductor, as a backend of `torch.compile`, for rows of one length whatever comes first.

    Inductor splits sums by the sizes of the batch that it compiles with, and so a run that goes on from a checkpoint,
    whose first batch is another one, would add in another order. Calls `torch._inductor.compile_fx`, which the backend
    "inductor" is.
    """
    import torch._inductor.config
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner

    def compile_inner(lowered: Any, examples: Any, **kwargs: Any) -> Any:
        if kwargs.get("is_inference"):
            _merge_equal(lowered)
        with _fixed_sizes(examples):
            return compile_fx_inner(lowered, examples, **kwargs)

    options = {name: value for name, value in _OPTIONS.items() if hasattr(torch._inductor.config, name)}
    result: Any = compile_fx(graph, inputs, inner_compile=compile_inner, config_patches=options)
    return cast(Callable[..., Any], result)


def is_compiler_error(error: RuntimeError) -> bool:
    """Return whether an error is one of the compiler, and none of what it compiles.

    Asks for `torch._dynamo.exc.TorchDynamoException`, the base of them, which takes a second to load.
    """
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def has_gpu_compiler() -> bool:
    """Return whether Triton is there and knows the GPU, as torch asks itself, in `torch.utils._triton`."""
    from torch.utils._triton import has_triton

    return bool(has_triton())


def _merge_equal(lowered: Any) -> None:
    """Compute equal expressions of a graph once, as torch does where there is a backward, and nowhere else.

    Under autocast each product casts its input by itself: three casts of one norm would be written, and read.
    Calls `torch._functorch.compile_utils.fx_graph_cse`; without it, such graphs move more.
    """
    from torch._functorch import compile_utils

    merge = getattr(compile_utils, "fx_graph_cse", None)
    if merge is not None:
        lowered.graph = merge(lowered.graph)
        lowered.recompile()


@contextmanager
def _fixed_sizes(examples: Sequence[Any]) -> Iterator[None]:
    """Let the compiler believe, inside the block, that hidden states `[R, L, D]` have the `R` and `L` of `_HINTS`.

    Writes `ShapeEnv.backed_var_to_val` (`var_to_val` in an older torch), where inductor reads the sizes that it chooses
    kernels for, and `var_to_hint_override`, by which its cache on disk tells them apart. Guards are made before, of the
    true sizes; equal sizes stay equal, and very long rows keep theirs, since an index of 32 bits is chosen by them.
    `evaluate_symexpr` and `deserialize_symexpr`, by which the strides of a forward go to its backward, see true sizes.
    """
    context = torch._guards.TracingContext.try_get()
    environment: Any = getattr(getattr(context, "fake_mode", None), "shape_env", None)
    sizes: Any = getattr(environment, "backed_var_to_val", None) or getattr(environment, "var_to_val", None) or {}
    told: Any = getattr(environment, "var_to_hint_override", {})
    before, told_before = dict(sizes), dict(told)
    rows = {symbol: int(sizes[symbol]) for symbol in _rows(examples) if symbol in sizes}
    distinct = sorted(set(rows.values()), reverse=True)
    if len(distinct) in _HINTS and distinct[0] <= _LONGEST:
        hints = dict(zip(distinct, _HINTS[len(distinct)], strict=True))
        told |= {symbol: hints[size] for symbol, size in rows.items()}
        sizes |= {symbol: type(sizes[symbol])(hints[size]) for symbol, size in rows.items()}
    strides = ("evaluate_symexpr", "deserialize_symexpr") if rows else ()
    for name in strides:
        setattr(environment, name, _with_sizes(getattr(environment, name), sizes, before))
    try:
        yield
    finally:
        for name in strides:
            delattr(environment, name)
        sizes.update(before)
        told.clear()
        told.update(told_before)


def _with_sizes(evaluate: Callable[[str], Any], sizes: dict[Any, Any], true: dict[Any, Any]) -> Callable[[str], Any]:
    """Return a function that evaluates with the true sizes: strides of outputs, which the backward is made for."""

    def evaluated(code: str) -> Any:
        believed = dict(sizes)
        sizes.update(true)
        try:
            return evaluate(code)
        finally:
            sizes.update(believed)

    return evaluated


def _rows(examples: Sequence[Any]) -> set[Any]:
    """Return the symbols of `R` and `L` in the tensors of three dimensions that a graph is given."""
    hidden = [each for each in examples if isinstance(each, torch.Tensor) and each.ndim == 3]
    sizes = [size for each in hidden if each.is_floating_point() for size in each.shape[:2]]
    return {cast(Any, size).node.expr for size in sizes if isinstance(size, torch.SymInt)}
