"""What torch's variable-length attention is handed, on a CPU; `tests/test_gpu.py` runs the kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from dpo_lightning.attention.kernels import Softmax, varlen
from dpo_lightning.attention.kernels.varlen import varlen_attention, varlen_fits
from dpo_lightning.batch import collate_tree
from dpo_lightning.logprobs import TokenScorer
from tests.attention.rows import ONE_SIDED, RAGGED, SHORT, Segments, assert_same, dense, heads, mask_of, visible, window
from tests.helpers.tiny import PAIRS, tiny_llama
from tools.docs.architecture_models import tiny_model

SCALE = 0.3
SOFTMAX = Softmax(SCALE)


class Kernel:
    """Dense attention in place of the flash kernel, sequence by sequence, its causal mask aligned bottom right."""

    calls: list[dict[str, Any]]

    def __init__(self) -> None:
        self.calls = []

    def __call__(  # noqa: PLR0913 - torch's signature
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_seq_q: Tensor,
        cu_seq_k: Tensor,
        max_q: int,
        max_k: int,
        *,
        scale: float,
        window_size: tuple[int, int],
        enable_gqa: bool,
    ) -> Tensor:
        self.calls.append({**locals()})
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        assert query.is_contiguous()
        assert query.shape[-1] == key.shape[-1] == value.shape[-1]
        assert query.shape[-1] % 8 == 0
        assert enable_gqa == (query.shape[1] != key.shape[1])
        q_ends, k_ends = cu_seq_q.tolist(), cu_seq_k.tolist()
        assert (q_ends[-1], k_ends[-1]) == (len(query), len(key))
        sizes_q, sizes_k = cu_seq_q.diff().tolist(), cu_seq_k.diff().tolist()
        assert (max_q, max_k) == (max(sizes_q), max(sizes_k))
        parts = zip(query.split(sizes_q), key.split(sizes_k), value.split(sizes_k), strict=True)
        return torch.cat([self._sequence(*part, scale, window_size) for part in parts])

    def _sequence(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float, window_size: tuple[int, int]
    ) -> Tensor:
        share = query.shape[1] // key.shape[1]
        query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        scores = scale * query @ key.repeat_interleave(share, 0).transpose(1, 2)
        aligned = scores.shape[-1] - scores.shape[-2]
        (left, right), everything = window_size, torch.ones_like(scores, dtype=torch.bool)
        hidden = everything.triu(aligned + right + 1)
        if left >= 0:
            hidden |= everything.tril(aligned - left - 1)
        probabilities = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        return (probabilities @ value.repeat_interleave(share, 0)).transpose(0, 1)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    fake = Kernel()
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", fake)
    return fake


class KernelOfTorch211(Kernel):
    """The kernel of torch 2.11, which groups heads by itself and has no argument for it."""

    def __call__(self, *tensors: Any, scale: float, window_size: tuple[int, int]) -> Tensor:  # type: ignore[override]
        grouped = tensors[0].shape[1] != tensors[1].shape[1]
        return super().__call__(*tensors, scale=scale, window_size=window_size, enable_gqa=grouped)


@pytest.mark.parametrize("groups", [1, 2])
def test_with_the_kernel_of_torch_2_11(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = KernelOfTorch211()
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    rows = heads(SHORT, groups=groups)
    expected = dense(rows, visible(SHORT), SCALE)

    assert_same(varlen_attention(*rows, mask_of(SHORT), SOFTMAX), expected, rows, 1e-13)
    assert len(kernel.calls) == 1


@pytest.mark.parametrize("segments", [SHORT, ONE_SIDED, RAGGED], ids=["both", "one-sided", "ragged"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_against_a_masked_softmax(groups: int, segments: Segments, kernel: Kernel) -> None:
    rows = heads(segments, groups=groups)
    expected = dense(rows, visible(segments), SCALE)

    assert_same(varlen_attention(*rows, mask_of(segments), SOFTMAX), expected, rows, 1e-13)
    assert len(kernel.calls) == 1


def test_keys_and_values_are_those_of_the_runs(kernel: Kernel) -> None:
    rows, mask = heads(SHORT), mask_of(SHORT)

    varlen_attention(*rows, mask, SOFTMAX)

    for name in ("key", "value"):
        gathered = torch.cat([run.gather(getattr(rows, name)[0]) for run in mask.runs], dim=1)
        assert torch.equal(kernel.calls[0][name], gathered.transpose(0, 1))
    assert torch.equal(kernel.calls[0]["query"], rows.query[0].transpose(0, 1))


def test_a_model_uses_it_where_it_fits(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = tiny_llama(), collate_tree(PAIRS)
    score = TokenScorer(model)
    expected = score(batch).logps
    assert kernel.calls == []
    monkeypatch.setattr(varlen, "_flash_takes", lambda *_: True)

    torch.testing.assert_close(score(batch).logps, expected, rtol=0, atol=1e-5)
    assert len(kernel.calls) == model.config.num_hidden_layers
    assert all(call["enable_gqa"] for call in kernel.calls)


@pytest.mark.parametrize(("size", "left"), [(2, 1), (3, 2), (8, 7), (9, -1), (100, -1)])
def test_a_window_is_the_kernels_own(size: int, left: int, kernel: Kernel) -> None:
    """The longest sequences have 9 tokens: a window of 9 hides nothing."""
    rows = heads(SHORT)
    expected = dense(rows, visible(SHORT, window(size)), SCALE)

    assert_same(varlen_attention(*rows, mask_of(SHORT, window(size)), SOFTMAX), expected, rows, 1e-13)
    assert [call["window_size"] for call in kernel.calls] == [(left, 0)]


@pytest.mark.parametrize(("width", "value_width", "taken"), [(100, 100, 104), (5, 5, 8), (12, 9, 16), (8, 8, 8)])
def test_head_dimensions_are_filled_up_with_zeros(width: int, value_width: int, taken: int, kernel: Kernel) -> None:
    rows = heads(SHORT, width=width, value_width=value_width)
    expected = dense(rows, visible(SHORT), SCALE / width)

    assert_same(varlen_attention(*rows, mask_of(SHORT), Softmax(SCALE / width)), expected, rows, 1e-13)
    assert kernel.calls[0]["query"].shape[-1] == taken


def test_a_model_with_a_window_uses_it(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = tiny_model("mistral", sliding_window=3), collate_tree(PAIRS)
    expected = TokenScorer(model)(batch).logps
    monkeypatch.setattr(varlen, "_flash_takes", lambda *_: True)

    torch.testing.assert_close(TokenScorer(model)(batch).logps, expected, rtol=0, atol=1e-5)
    assert [call["window_size"] for call in kernel.calls] == [(2, 0), (2, 0)]


def test_what_the_batch_knows_is_not_asked_of_its_runs(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes over the runs in Python, which would be paid for in each layer."""
    rows, mask = heads(SHORT), mask_of(SHORT)
    monkeypatch.setattr(type(mask), "runs", property(lambda _: pytest.fail("asked for the runs")))

    varlen_attention(*rows, mask, SOFTMAX)

    assert (kernel.calls[0]["max_q"], kernel.calls[0]["max_k"]) == (8, 9)


@pytest.mark.parametrize(
    ("device", "dtype", "width", "value_width", "fits"),
    [
        ("cuda", torch.bfloat16, 64, 64, True),
        ("cuda", torch.float16, 256, 256, True),
        ("cpu", torch.bfloat16, 64, 64, False),
        ("cuda", torch.float32, 64, 64, False),
        ("cuda", torch.float64, 64, 64, False),
        ("cuda", torch.bfloat16, 100, 100, True),
        ("cuda", torch.bfloat16, 192, 128, True),
        ("cuda", torch.bfloat16, 257, 64, False),
        ("cuda", torch.bfloat16, 320, 320, False),
    ],
    ids=str,
)
def test_what_the_kernel_takes(device: str, dtype: torch.dtype, width: int, value_width: int, fits: bool) -> None:
    with FakeTensorMode():
        query = torch.empty(1, 4, 10, width, device=device, dtype=dtype)
        value = torch.empty(1, 2, 10, value_width, device=device, dtype=dtype)

    assert varlen_fits(query, value, mask_of(SHORT), SOFTMAX) is fits
