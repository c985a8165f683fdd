"""The scorer against a plain forward of each sequence alone."""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from dpo_lightning.batch import Collate, PreferenceBatch, collate_padded, collate_tree
from dpo_lightning.logprobs import Statistic, TokenScorer, sequence_logps
from dpo_lightning.logprobs.tiling import Tiling
from tests.helpers.brute import brute_token_logps, flat
from tests.helpers.tiny import PAIRS, tiny_llama
from tests.helpers.watching import Tensors
from tools.docs.architecture_models import ARCHITECTURES, VOCAB_SIZE, randomised, tiny_model

BATCH = collate_padded(PAIRS)
COLLISIONS = [Statistic.LOG_COLLISIONS]


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    """Shared and not to be changed."""
    return tiny_llama()


def plain_logps(model: nn.Module, batch: PreferenceBatch) -> Tensor:
    """All logits, one log-softmax."""
    logps = model(input_ids=batch.input_ids).logits.flatten(0, 1).log_softmax(-1)
    return logps[batch.predict_index].gather(-1, batch.targets[:, None])[:, 0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_against_each_sequence_alone(architecture: str) -> None:
    model = tiny_model(architecture)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # no fallback: the head runs on scored positions only
        logps = TokenScorer(model)(BATCH).logps

    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps.double(), flat(brute_token_logps(model, PAIRS)), rtol=0, atol=1e-5)


def test_sequences_are_the_sums_of_their_tokens(llama: LlamaForCausalLM) -> None:
    expected = [sum(row) for row in brute_token_logps(llama, PAIRS)]

    assert sequence_logps(TokenScorer(llama), BATCH).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_batch_that_is_off_by_one_would_show(llama: LlamaForCausalLM, shift: int) -> None:
    shifted = BATCH._replace(predict_index=BATCH.predict_index + shift)

    difference = TokenScorer(llama)(shifted).logps.double() - flat(brute_token_logps(llama, PAIRS))

    assert difference.abs().mean() > 0.5


def test_a_later_token_does_not_change_an_earlier_log_prob(llama: LlamaForCausalLM) -> None:
    chosen, rejected = PAIRS[0].completion_ids
    changed = PAIRS[0]._replace(completion_ids=[[*chosen[:-1], 33], rejected])
    scores = [TokenScorer(llama)(collate_padded([pair])).logps[:4] for pair in (PAIRS[0], changed)]

    assert torch.equal(scores[0][:3], scores[1][:3])
    assert (scores[0][3] - scores[1][3]).abs() > 0.01


def test_gradients_are_those_of_a_plain_forward() -> None:
    model = tiny_llama().double()
    parameters = [p for name, p in model.named_parameters()]
    weights = torch.randn(len(BATCH.targets), dtype=torch.float64)

    ours = torch.autograd.grad((TokenScorer(model)(BATCH).logps * weights).sum(), parameters)
    expected = torch.autograd.grad((plain_logps(model, BATCH) * weights).sum(), parameters)

    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def is_logits(tensor: Tensor) -> bool:
    return tensor.shape[-1:] == (VOCAB_SIZE,) and tensor.shape != (32, VOCAB_SIZE)  # the head's weight, transposed


def test_the_head_runs_on_scored_positions_only(llama: LlamaForCausalLM) -> None:
    score = TokenScorer(llama)
    score(BATCH)
    with Tensors(is_logits) as logits:
        score(BATCH)

    assert logits.largest == len(BATCH.targets) * VOCAB_SIZE
    assert BATCH.input_ids.numel() > len(BATCH.targets)


def test_chunks_hold_through_the_whole_model(llama: LlamaForCausalLM) -> None:
    whole = TokenScorer(llama)(BATCH).logps
    score = TokenScorer(llama, Tiling(rows=5))
    score(BATCH)
    with Tensors(is_logits) as logits:
        logps = score(BATCH).logps

    assert logits.largest == 5 * VOCAB_SIZE
    torch.testing.assert_close(logps, whole)


def test_a_bfloat16_model_keeps_float32_statistics() -> None:
    model = tiny_llama().to(torch.bfloat16)
    score = TokenScorer(model)
    with torch.no_grad():
        hidden = model.model(input_ids=BATCH.input_ids).last_hidden_state.flatten(0, 1)[BATCH.predict_index]
        exact = model.lm_head(hidden).double().log_softmax(-1).gather(-1, BATCH.targets[:, None])[:, 0]

    logps = score(BATCH).logps

    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps.double(), exact, rtol=0, atol=1e-5)


def test_tied_embeddings_get_both_gradients() -> None:
    model = tiny_llama(tie_word_embeddings=True).double()
    assert model.lm_head.weight is model.model.embed_tokens.weight

    TokenScorer(model)(BATCH).logps.sum().backward()
    ours = model.lm_head.weight.grad.clone()
    model.zero_grad()
    plain_logps(model, BATCH).sum().backward()

    torch.testing.assert_close(ours, model.lm_head.weight.grad, rtol=1e-9, atol=1e-12)


def test_a_model_without_output_embeddings_is_scored_from_its_logits() -> None:
    class Counter(nn.Module):
        """Logits of a table: a bigram model."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(VOCAB_SIZE, VOCAB_SIZE)

        def forward(self, input_ids: Tensor) -> Any:
            return SimpleNamespace(logits=self.table(input_ids))

    model = Counter()
    logps = TokenScorer(model)(BATCH).logps
    logps.sum().backward()

    torch.testing.assert_close(logps.double(), flat(brute_token_logps(model, PAIRS)), rtol=0, atol=1e-5)
    assert model.table.weight.grad is not None


class Shifted(LlamaForCausalLM):
    """Does to its logits what no scale and no soft-cap can."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits + torch.tanh(output.logits)
        return output


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_unknown_transform_warns_and_is_scored_from_its_logits(dtype: torch.dtype) -> None:
    model = randomised(Shifted(tiny_llama().config)).to(dtype)
    score = TokenScorer(model)

    with pytest.warns(UserWarning, match="Shifted does more to its logits than a scale and a soft-cap") as caught:
        logps = score(BATCH).logps
    again = score(BATCH).logps

    assert len(caught) == 1
    assert torch.equal(logps, again)
    exact = model(input_ids=BATCH.input_ids).logits.flatten(0, 1)[BATCH.predict_index].double().log_softmax(-1)
    torch.testing.assert_close(
        logps.double(), exact.gather(-1, BATCH.targets[:, None])[:, 0], rtol=0, atol=1e-5, check_dtype=False
    )


def test_probes_once(llama: LlamaForCausalLM) -> None:
    calls: list[int] = []
    handle = llama.model.register_forward_hook(lambda *_: calls.append(1))
    score = TokenScorer(llama)
    for _ in range(3):
        score(BATCH)
    handle.remove()

    assert len(calls) == 4


def test_leaves_no_hook_behind_when_the_model_fails(llama: LlamaForCausalLM) -> None:
    score = TokenScorer(llama)
    score(BATCH)

    with pytest.raises(IndexError):
        score(BATCH._replace(input_ids=BATCH.input_ids + VOCAB_SIZE))
    assert not llama.lm_head._forward_pre_hooks
    assert llama(input_ids=BATCH.input_ids).logits.shape == (*BATCH.input_ids.shape, VOCAB_SIZE)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
    ids=["all-linear", "head adapted", "head saved"],
)
def test_adapters_on_body_and_head(llama: LlamaForCausalLM, settings: dict[str, Any]) -> None:
    adapted = get_peft_model(copy.deepcopy(llama), LoraConfig(r=2, init_lora_weights=False, **settings))
    score = TokenScorer(adapted)

    logps = score(BATCH).logps
    torch.testing.assert_close(logps.double(), flat(brute_token_logps(adapted, PAIRS)), rtol=0, atol=1e-5)
    assert (logps - TokenScorer(llama)(BATCH).logps).abs().max() > 0.1
    with torch.no_grad(), adapted.disable_adapter():
        torch.testing.assert_close(score(BATCH).logps, TokenScorer(llama)(BATCH).logps, rtol=0, atol=1e-5)


LORA_ON_HEAD = {"target_modules": ["q_proj", "lm_head"]}
SAVED_HEAD = {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
MODES = {
    "float64": (torch.float64, None, 1e-7),  # Llama's norms are float32 in any dtype
    "float32": (torch.float32, None, 1e-5),
    "bf16-true": (torch.bfloat16, None, 0.03),
    "bf16-mixed": (torch.float32, torch.bfloat16, 0.03),
    "16-mixed": (torch.float32, torch.float16, 0.005),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", [collate_padded, collate_tree], ids=["padded", "tree"])
@pytest.mark.parametrize(
    ("tied", "adapter"),
    [(False, None), (True, None), (False, LORA_ON_HEAD), (False, SAVED_HEAD), (True, {"target_modules": "all-linear"})],
    ids=["untied", "tied", "adapted head", "saved head", "tied, frozen head"],
)
def test_gradients_in_every_mode(tied: bool, adapter: dict[str, Any] | None, layout: Collate, mode: str) -> None:
    """Against a float64 copy with the same weights, scored from all its logits."""
    dtype, autocast, accuracy = MODES[mode]
    model = tiny_llama(tie_word_embeddings=tied)
    if adapter is not None:
        model = get_peft_model(model, LoraConfig(r=2, init_lora_weights=False, **adapter))
    model.to(dtype)
    exact = copy.deepcopy(model).double()

    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        logps = TokenScorer(model)(layout(PAIRS)).logps
        assert logps.dtype == torch.promote_types(dtype, torch.float32)
    weights = torch.linspace(0.5, 1.5, len(logps), dtype=torch.float64)
    (logps.double() * weights).sum().backward()
    expected = plain_logps(exact, BATCH)
    (expected * weights).sum().backward()

    assert (logps - expected).abs().max() < 10 * accuracy
    for ours, theirs in zip(model.parameters(), exact.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            assert ours.grad.dtype == dtype
            assert (ours.grad.double() - theirs.grad).norm() < 10 * accuracy * theirs.grad.norm()


def test_a_frozen_head_gets_no_gradient(llama: LlamaForCausalLM) -> None:
    model = copy.deepcopy(llama).requires_grad_(False)
    model.model.layers[0].mlp.requires_grad_(True)

    TokenScorer(model)(BATCH).logps.sum().backward()

    assert model.lm_head.weight.grad is None
    assert model.model.layers[0].mlp.up_proj.weight.grad is not None


def plain_collisions(model: nn.Module, batch: PreferenceBatch) -> Tensor:
    logits = model(input_ids=batch.input_ids).logits.flatten(0, 1)[batch.predict_index].double()
    return logits.softmax(-1).square().sum(-1).log()


def adapted_head(model: nn.Module) -> nn.Module:
    return get_peft_model(copy.deepcopy(model), LoraConfig(r=2, init_lora_weights=False, **LORA_ON_HEAD))


@pytest.mark.parametrize("layout", [collate_padded, collate_tree], ids=["padded", "tree"])
@pytest.mark.parametrize("adapt", [lambda model: model, adapted_head], ids=["plain", "adapted head"])
def test_collisions_are_those_of_a_plain_forward(llama: LlamaForCausalLM, adapt: Any, layout: Collate) -> None:
    model = adapt(llama)
    score = TokenScorer(model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    logps, statistics = score(layout(PAIRS), COLLISIONS)
    log_collisions = statistics[Statistic.LOG_COLLISIONS]
    plain = score(layout(PAIRS)).logps

    torch.testing.assert_close(log_collisions.double(), plain_collisions(model, BATCH).detach(), rtol=0, atol=1e-5)
    assert not log_collisions.requires_grad
    assert torch.equal(logps, plain)
    for one, other in zip(
        torch.autograd.grad(logps.square().sum(), parameters),
        torch.autograd.grad(plain.square().sum(), parameters),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_collisions_of_soft_capped_logits() -> None:
    model = tiny_model("gemma2")

    found = TokenScorer(model)(BATCH, COLLISIONS).statistics[Statistic.LOG_COLLISIONS]

    torch.testing.assert_close(found.double(), plain_collisions(model, BATCH).detach(), rtol=0, atol=1e-5)


def test_collisions_come_from_one_forward(llama: LlamaForCausalLM) -> None:
    score = TokenScorer(llama)
    score(BATCH)
    calls: list[int] = []
    handle = llama.model.register_forward_hook(lambda *_: calls.append(1))
    score(BATCH, COLLISIONS)
    handle.remove()

    assert len(calls) == 1


def test_collisions_of_a_model_that_is_scored_from_its_logits() -> None:
    model = randomised(Shifted(tiny_llama().config))
    with pytest.warns(UserWarning, match="Shifted does more to its logits"):
        logps, statistics = TokenScorer(model)(BATCH, COLLISIONS)

    log_collisions = statistics[Statistic.LOG_COLLISIONS]
    torch.testing.assert_close(log_collisions.double(), plain_collisions(model, BATCH).detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(logps, plain_logps(model, BATCH))
