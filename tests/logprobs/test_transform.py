"""What models do to their logits, found without knowing their names."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpo_lightning.logprobs.transform import HeadProbe, LogitTransform, probe_head
from tools.docs.architecture_models import VOCAB_SIZE, tiny_model

WIDTH = 32
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
TOKENS = torch.zeros(1, 8, dtype=torch.long)


class HeadOnly(nn.Module):
    """An embedding, a head, and whatever is to be done to the logits."""

    def __init__(self, change: Callable[[Tensor], Tensor], std: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.head = nn.Linear(WIDTH, VOCAB_SIZE)
        nn.init.normal_(self.head.weight, std=std)
        self.change = change

    def forward(self, input_ids: Tensor) -> Any:
        return SimpleNamespace(logits=self.change(self.logits(self.embedding(input_ids))))

    def logits(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)


def probe(model: HeadOnly) -> HeadProbe | None:
    return probe_head(model, model.head, TOKENS)


def softcapped(cap: float) -> Callable[[Tensor], Tensor]:
    return lambda raw: cap * torch.tanh(raw / cap)


@pytest.mark.parametrize(
    ("architecture", "settings", "transform"),
    [
        ("llama", {}, LogitTransform()),
        ("gpt2", {}, LogitTransform()),
        ("phi", {}, LogitTransform()),  # its head has a bias
        ("granite", {"logits_scaling": 8.0}, LogitTransform(1 / 8)),
        ("granite", {"logits_scaling": 6.0}, LogitTransform(1 / 6)),  # granite-3.0-1b-a400m
        ("cohere", {"logit_scale": 0.0625}, LogitTransform(0.0625)),
        ("cohere", {"logit_scale": 0.8}, LogitTransform(0.8)),
        ("gemma2", {}, LogitTransform(softcap=30.0)),
        ("gemma2", {"final_logit_softcapping": 5.0}, LogitTransform(softcap=5.0)),
        ("gemma2", {"final_logit_softcapping": None}, LogitTransform()),
        ("recurrent_gemma", {}, LogitTransform(softcap=30.0)),
    ],
)
def test_finds_what_an_architecture_does(
    architecture: str, settings: dict[str, Any], transform: LogitTransform
) -> None:
    model = tiny_model(architecture, **settings)
    model.config.use_cache = False
    for dtype in DTYPES:
        model.to(dtype)

        assert probe_head(model, model.get_output_embeddings(), TOKENS) == HeadProbe(transform, VOCAB_SIZE)


@every_dtype
def test_finds_scale_and_softcap_together(dtype: torch.dtype) -> None:
    found = probe(HeadOnly(lambda raw: softcapped(30.0)(raw * 0.5)).to(dtype))

    assert found == HeadProbe(LogitTransform(0.5, 30.0), VOCAB_SIZE)


@pytest.mark.parametrize("std", [0.002, 2.0])
@every_dtype
def test_the_size_of_the_weights_does_not_matter(dtype: torch.dtype, std: float) -> None:
    model = HeadOnly(softcapped(20.0), std).to(dtype)
    nn.init.zeros_(model.head.bias)

    assert probe(model) == HeadProbe(LogitTransform(softcap=20.0), VOCAB_SIZE)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + 0.5 * torch.tanh(raw),
        lambda raw: raw + torch.linspace(0, 1, VOCAB_SIZE).to(raw),
        lambda raw: raw.log_softmax(-1),
        lambda raw: raw - raw.mean(-1, keepdim=True),
        lambda raw: raw.clamp(max=5),
        lambda raw: torch.where(torch.arange(VOCAB_SIZE) < 3, -torch.inf, raw),
        lambda raw: raw[..., : VOCAB_SIZE // 2],
    ],
    ids=["nonlinear", "bias", "log_softmax", "centred", "clamp", "masked", "cut"],
)
@every_dtype
def test_anything_else_is_not_mistaken_for_a_scale(change: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    assert probe(HeadOnly(change).to(dtype)) is None


def test_a_head_that_is_not_called_as_a_module_is_noticed() -> None:
    class Functional(HeadOnly):
        def logits(self, hidden: Tensor) -> Tensor:
            return F.linear(hidden, self.head.weight)

    class ByKeyword(HeadOnly):
        def logits(self, hidden: Tensor) -> Tensor:
            return self.head(input=hidden)

    class Twice(HeadOnly):
        def logits(self, hidden: Tensor) -> Tensor:
            return self.head(hidden) + self.head(hidden)

    for model in (Functional, ByKeyword, Twice):
        assert probe(model(lambda raw: raw)) is None


def test_leaves_the_random_state_the_hooks_and_the_gradients_alone() -> None:
    model = HeadOnly(lambda raw: F.dropout(raw, 1e-9, training=True))
    before = torch.get_rng_state()

    probe(model)

    assert torch.equal(torch.get_rng_state(), before)
    assert not model.head._forward_pre_hooks
    assert not model.head._forward_hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_hooks_go_when_the_model_fails() -> None:
    def fail(raw: Tensor) -> Tensor:
        raise RuntimeError("out of order")

    model = HeadOnly(fail)

    with pytest.raises(RuntimeError, match="out of order"):
        probe(model)
    assert not model.head._forward_pre_hooks
    assert not model.head._forward_hooks


def test_under_autocast() -> None:
    model = HeadOnly(softcapped(30.0))

    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            assert probe(model) == HeadProbe(LogitTransform(softcap=30.0), VOCAB_SIZE)


def test_transform_by_hand() -> None:
    raw = torch.tensor([0.0, 2.0, -1e6])

    # 0.5 x 2 = 1, and 4 tanh(1 / 4) = 0.979674...
    assert LogitTransform(0.5, 4.0)(raw).tolist() == pytest.approx([0.0, 0.97967466, -4.0])
    assert LogitTransform(0.5)(raw).tolist() == [0.0, 1.0, -5e5]
    assert LogitTransform()(raw) is raw


def test_weights_without_a_number_have_none() -> None:
    model = HeadOnly(lambda raw: raw)
    model.head.weight.data.fill_(torch.nan)
    assert probe(model) is None
