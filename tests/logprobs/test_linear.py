"""The linear head in tiles against the plain formula in float64: values, gradients, GEMMs and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dpo_lightning.logprobs import Statistic
from dpo_lightning.logprobs.linear import linear_logps
from dpo_lightning.logprobs.tiling import Tiling
from dpo_lightning.logprobs.transform import LogitTransform
from tests.helpers.watching import Tensors

TOKENS, WIDTH, VOCAB = 50, 12, 700
PLAIN = LogitTransform()
TRANSFORMS = [PLAIN, LogitTransform(0.25), LogitTransform(softcap=3.0), LogitTransform(2.0, 3.0)]
HALF = (torch.bfloat16, torch.float16)
HALF_OF_THE_PROBABILITIES = TOKENS * VOCAB * 8 // 2
# Of a bfloat16 logit, rounded once.
ROUNDING = 2.0**-8

Inputs = tuple[Tensor, Tensor, Tensor]
WHOLE = Tiling()
PIECES = Tiling(rows=16, cpu_logits=1)
"""16 + 16 + 16 + 2 rows, and 256 + 256 + 188 columns."""
COLLISIONS = [Statistic.LOG_COLLISIONS]


def inputs(dtype: torch.dtype = torch.float64) -> Inputs:
    """Hidden states, weight and bias, with logits of about 3."""
    hidden, weight, bias = torch.randn(TOKENS, WIDTH), torch.randn(VOCAB, WIDTH), torch.randn(VOCAB)
    return tuple(tensor.to(dtype).requires_grad_() for tensor in (hidden, weight, bias))


def edges() -> Tensor:
    """Tokens beside every edge of a tile, each several times and in several chunks of rows."""
    return torch.tensor([0, 255, 256, 511, 512, VOCAB - 1]).repeat(TOKENS)[:TOKENS]


def exact_logps(hidden: Tensor, weight: Tensor, bias: Tensor | None, transform: LogitTransform = PLAIN) -> Tensor:
    """The plain formula in float64, on the same numbers."""
    raw = hidden.double() @ weight.double().T + (0 if bias is None else bias.double())
    return transform(raw).log_softmax(-1).gather(-1, edges()[:, None])[:, 0]


def logps_of(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    transform: LogitTransform,
    tiling: Tiling = WHOLE,
) -> Tensor:
    return linear_logps(hidden, weight, bias, targets, transform, tiling=tiling).logps


def collisions_of(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, transform: LogitTransform = PLAIN, tiling: Tiling = PIECES
) -> tuple[Tensor, Tensor]:
    """Log-probs, and log collisions beside them."""
    found = linear_logps(hidden, weight, bias, edges(), transform, statistics=COLLISIONS, tiling=tiling)
    return found.logps, found.statistics[Statistic.LOG_COLLISIONS]


def weighted(logps: Tensor) -> Tensor:
    """A gradient that goes to the wrong token does not cancel."""
    return (logps.double() * torch.linspace(-1, 2, TOKENS, dtype=torch.float64)).sum()


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize("tiling", [WHOLE, PIECES], ids=["whole", "pieces"])
@pytest.mark.parametrize("kept_bytes", [0, HALF_OF_THE_PROBABILITIES, 2**30], ids=["recomputed", "some kept", "kept"])
@pytest.mark.parametrize("with_bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_values_and_gradients(
    transform: LogitTransform,
    with_bias: bool,
    kept_bytes: int,
    tiling: Tiling,
) -> None:
    tiling = replace(tiling, kept_bytes=kept_bytes)
    hidden, weight, bias = inputs()
    leaves = (hidden, weight, bias) if with_bias else (hidden, weight)
    head_bias = bias if with_bias else None

    ours = logps_of(hidden, weight, head_bias, edges(), transform, tiling)
    exact = exact_logps(hidden, weight, head_bias, transform)

    torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)
    for found, expected in zip(
        torch.autograd.grad(weighted(ours), leaves), torch.autograd.grad(weighted(exact), leaves), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("trained", [(0,), (1,), (2,), (0, 1), (1, 2)], ids=str)
def test_only_what_is_trained_gets_a_gradient(trained: tuple[int, ...]) -> None:
    tensors = inputs()
    for number, tensor in enumerate(tensors):
        tensor.requires_grad_(number in trained)

    weighted(logps_of(*tensors, edges(), PLAIN, PIECES)).backward()
    leaves = [tensors[number] for number in trained]
    expected = torch.autograd.grad(weighted(exact_logps(*tensors)), leaves)

    assert [tensor.grad is not None for tensor in tensors] == [number in trained for number in range(3)]
    for leaf, gradient in zip(leaves, expected, strict=True):
        torch.testing.assert_close(leaf.grad, gradient, rtol=1e-11, atol=1e-12)


def test_without_gradients_there_is_no_graph_and_the_same_value() -> None:
    tensors = inputs()
    expected = logps_of(*tensors, edges(), PLAIN, PIECES)
    frozen = [tensor.detach() for tensor in tensors]
    with torch.no_grad():
        found = logps_of(*tensors, edges(), PLAIN, PIECES)

    for logps in (found, logps_of(*frozen, edges(), PLAIN, PIECES)):
        assert not logps.requires_grad
        torch.testing.assert_close(logps, expected, rtol=1e-12, atol=1e-12)


def test_a_graph_can_be_walked_twice() -> None:
    tensors = inputs()
    loss = weighted(logps_of(*tensors, edges(), PLAIN, PIECES))
    first = torch.autograd.grad(loss, tensors, retain_graph=True)

    for one, other in zip(first, torch.autograd.grad(loss, tensors), strict=True):
        assert torch.equal(one, other)


def test_a_weight_that_changed_before_the_backward_is_noticed() -> None:
    hidden, weight, bias = inputs()
    logps = logps_of(hidden, weight, bias, edges(), PLAIN)
    with torch.no_grad():
        weight.mul_(2)

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        weighted(logps).backward()


@pytest.mark.parametrize("order", [1, -1], ids=["rising", "falling"])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_logits_do_not_overflow(order: int, size: float) -> None:
    """Logits from -size to size, so that each tile of a rising row is beyond all that came before."""
    weight = (size * torch.linspace(-1, 1, VOCAB)[::1, None]).requires_grad_()
    hidden = torch.full((TOKENS, 1), float(order), requires_grad=True)

    logps = logps_of(hidden, weight, None, edges(), PLAIN, PIECES)
    # Squares of 1e30 are beyond float32: the gradient's own size, not a step on the way.
    weighted(logps * (1 if size < 1e30 else 1e-30)).backward()

    torch.testing.assert_close(logps.double(), exact_logps(hidden, weight, None), rtol=1e-6, atol=1e-3)
    assert hidden.grad.isfinite().all()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_is_as_exact_as_its_logits(dtype: torch.dtype) -> None:
    """Two roundings of a product, of the target and of the others, bound the error; a bias adds none."""
    hidden, weight, bias = inputs(dtype)
    exact = exact_logps(hidden, weight, bias)
    logits = (hidden @ weight.T).double() + bias.double()
    rounded = logits.log_softmax(-1).gather(-1, edges()[:, None])[:, 0]
    largest = (hidden.double() @ weight.double().T).abs().max()

    logps = logps_of(hidden, weight, bias, edges(), PLAIN, PIECES)

    assert logps.dtype == torch.float32
    error = (logps.double() - exact).abs().max()
    assert error <= 2 * ROUNDING * largest
    assert error <= (rounded - exact).abs().max() * 1.01 + 1e-5


@pytest.mark.parametrize("kept_bytes", [0, 2**30], ids=["recomputed", "kept"])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_gradients(dtype: torch.dtype, transform: LogitTransform, kept_bytes: int) -> None:
    tiling = replace(PIECES, kept_bytes=kept_bytes)
    tensors = inputs(dtype)
    doubles = [tensor.detach().double().requires_grad_() for tensor in tensors]

    found = torch.autograd.grad(weighted(logps_of(*tensors, edges(), transform, tiling)), tensors)
    expected = torch.autograd.grad(weighted(exact_logps(*doubles, transform)), doubles)

    assert [gradient.dtype for gradient in found] == [dtype] * 3
    assert max(map(relative, found, expected)) < 2 * ROUNDING


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_autocast_computes_in_its_dtype_and_keeps_float32_parameters(dtype: torch.dtype) -> None:
    tensors = inputs(torch.float32)
    hidden, weight, bias = (tensor.detach() for tensor in tensors)
    # A bias is added in float32.
    narrow = [tensor.requires_grad_() for tensor in (hidden.to(dtype), weight.to(dtype), bias.clone())]
    with torch.autocast("cpu", dtype):
        logps = logps_of(*tensors, edges(), PLAIN, PIECES)
        expected = logps_of(*narrow, edges(), PLAIN, PIECES)
        weighted(logps).backward()  # inside the block, which must not change it
    weighted(expected).backward()

    assert torch.equal(logps, expected)
    assert [tensor.grad.dtype for tensor in tensors] == [torch.float32] * 3
    assert max(relative(one.grad, other.grad) for one, other in zip(tensors, narrow, strict=True)) < ROUNDING


def test_autocast_is_in_force_for_float32_hidden_states_only_where_it_is_on() -> None:
    hidden, weight, bias = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = logps_of(hidden, weight, bias, edges(), PLAIN)
    exact = exact_logps(hidden, weight, bias)

    assert (under_autocast - exact).abs().max() > 1e-3
    assert (logps_of(hidden, weight, bias, edges(), PLAIN) - exact).abs().max() < 1e-5


def gemms(function: Callable[[], object]) -> float:
    """Products of ``[N, V, D]`` multiply-adds."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / (2 * TOKENS * VOCAB * WIDTH)


@pytest.mark.parametrize(
    ("trained", "kept_bytes", "forward", "backward"),
    [((), 2**30, 1, 0), ((0,), 0, 2, 0), ((0, 1), 2**30, 2, 1), ((0, 1), 0, 2, 2)],
    ids=["no gradient", "frozen head", "trained, kept", "trained, recomputed"],
)
def test_number_of_gemms(
    trained: tuple[int, ...],
    kept_bytes: int,
    forward: int,
    backward: int,
) -> None:
    tiling = replace(PIECES, kept_bytes=kept_bytes)
    tensors = inputs(torch.float32)[:2]
    for number, tensor in enumerate(tensors):
        tensor.requires_grad_(number in trained)
    losses: list[Tensor] = []

    assert gemms(lambda: losses.append(weighted(logps_of(*tensors, None, edges(), PLAIN, tiling)))) == forward
    if trained:
        assert gemms(losses[0].backward) == backward


@pytest.mark.parametrize("trained", [(), (0,), (0, 1)], ids=["no gradient", "frozen head", "trained"])
def test_no_tensor_holds_more_than_a_tile_of_logits(trained: tuple[int, ...]) -> None:
    tensors = inputs(torch.bfloat16)
    for number, tensor in enumerate(tensors):
        tensor.requires_grad_(number in trained)
    with Tensors() as seen:
        loss = weighted(logps_of(*tensors, edges(), PLAIN, PIECES))
        if trained:
            loss.backward()

    # 16 rows of a tile of 256, or all weights.
    assert seen.largest <= max(16 * 256, VOCAB * WIDTH)


@pytest.mark.parametrize(
    ("trained", "kept_bytes", "kept"),
    [
        ((), 2**30, 0),
        ((0,), 2**30, 0),
        ((0, 1), 0, 0),
        ((0, 1), 2**30, TOKENS),
        # A budget for two chunks of 16 rows, and one for the 2 rows of the last as well.
        ((0, 1), 33 * VOCAB * 2, 32),
        ((0, 1), 34 * VOCAB * 2, 34),
    ],
    ids=["no gradient", "frozen head", "recomputed", "kept", "two chunks", "two and the last"],
)
def test_what_is_kept_for_the_backward(trained: tuple[int, ...], kept_bytes: int, kept: int) -> None:
    """Probabilities ``[kept, V]`` in bfloat16 within the budget; else a few numbers a token."""
    tiling = replace(PIECES, kept_bytes=kept_bytes)
    tensors = inputs(torch.bfloat16)
    for number, tensor in enumerate(tensors):
        tensor.requires_grad_(number in trained)
    with Tensors() as seen:
        logps = logps_of(*tensors, edges(), PLAIN, tiling)
    few = TOKENS * (WIDTH + 16) * 4

    assert kept * VOCAB * 2 <= seen.alive_bytes <= kept * VOCAB * 2 + few
    del logps
    assert seen.alive_bytes == 0


def exact_collisions(hidden: Tensor, weight: Tensor, bias: Tensor | None, transform: LogitTransform = PLAIN) -> Tensor:
    raw = hidden.double() @ weight.double().T + (0 if bias is None else bias.double())
    return transform(raw).softmax(-1).square().sum(-1).log()


@pytest.mark.parametrize("tiling", [WHOLE, PIECES], ids=["whole", "pieces"])
@pytest.mark.parametrize("grad", [False, True], ids=["no gradient", "gradient"])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_collisions(transform: LogitTransform, grad: bool, tiling: Tiling) -> None:
    tensors = inputs()
    with torch.set_grad_enabled(grad):
        logps, log_collisions = collisions_of(*tensors, transform, tiling)

    assert (logps.requires_grad, log_collisions.requires_grad) == (grad, False)
    torch.testing.assert_close(log_collisions, exact_collisions(*tensors, transform).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kept_bytes", [0, 2**30], ids=["recomputed", "kept"])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_collisions_change_nothing_else(transform: LogitTransform, kept_bytes: int) -> None:
    tiling = replace(PIECES, kept_bytes=kept_bytes)
    tensors = inputs(torch.bfloat16)
    plain, nothing = linear_logps(*tensors, edges(), transform, tiling=tiling)
    beside, _ = collisions_of(*tensors, transform, tiling)

    assert not nothing
    assert torch.equal(plain, beside)
    for one, other in zip(
        torch.autograd.grad(weighted(plain), tensors), torch.autograd.grad(weighted(beside), tensors), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("size", [0.0, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
def test_collisions_of_even_and_of_certain_distributions(dtype: torch.dtype, size: float) -> None:
    """From ``1 / V`` to 1: a square of an exponential of a shifted logit neither overflows nor vanishes."""
    size = min(size, 3e4) if dtype == torch.float16 else size
    hidden, weight = torch.ones(TOKENS, 1, dtype=dtype), (size * torch.linspace(-1, 1, VOCAB)[:, None]).to(dtype)

    _, log_collisions = collisions_of(hidden, weight, None)

    assert log_collisions.dtype == torch.float32
    torch.testing.assert_close(log_collisions.double(), exact_collisions(hidden, weight, None), rtol=1e-5, atol=1e-6)


def test_collisions_take_no_gemm_of_their_own() -> None:
    tensors = inputs(torch.float32)

    assert gemms(lambda: collisions_of(*tensors)) == 2


def test_collisions_need_no_more_than_a_tile_of_logits() -> None:
    tensors = inputs(torch.bfloat16)
    with Tensors() as seen:
        collisions_of(*tensors)

    assert seen.largest <= max(16 * 256, VOCAB * WIDTH)
