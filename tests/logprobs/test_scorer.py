"""The scorer against a plain forward of each sequence alone."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from dpo_lightning.batch import PairBatch
from dpo_lightning.collate import collate_padded
from dpo_lightning.logprobs import TokenScorer, scorer, sequence_logps
from dpo_lightning.logprobs.head import chunked_logps
from tests.helpers.architectures import ARCHITECTURES, VOCAB_SIZE, randomised, tiny_model
from tests.helpers.brute import brute_token_logps, flat
from tests.helpers.tiny import PAIRS, tiny_llama

BATCH = collate_padded(PAIRS)


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    """Shared and not to be changed."""
    return tiny_llama()


def plain_logps(model: nn.Module, batch: PairBatch) -> Tensor:
    """All logits, one log-softmax."""
    logps = model(input_ids=batch.input_ids).logits.flatten(0, 1).log_softmax(-1)
    return logps[batch.predict_index].gather(-1, batch.targets[:, None])[:, 0]


@contextmanager
def head_rows(head: nn.Module) -> Iterator[list[int]]:
    """Count the rows that each call of the head gets, in forward and backward."""
    rows: list[int] = []
    handle = head.register_forward_hook(lambda _, args, output: rows.append(args[0].numel() // args[0].shape[-1]))
    yield rows
    handle.remove()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_against_each_sequence_alone(architecture: str) -> None:
    model = tiny_model(architecture)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # no fallback: the head runs on scored positions only
        logps = TokenScorer(model)(BATCH)

    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps.double(), flat(brute_token_logps(model, PAIRS)), rtol=0, atol=1e-5)


def test_sequences_are_the_sums_of_their_tokens(llama: LlamaForCausalLM) -> None:
    expected = [sum(row) for row in brute_token_logps(llama, PAIRS)]

    assert sequence_logps(TokenScorer(llama), BATCH).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_batch_that_is_off_by_one_would_show(llama: LlamaForCausalLM, shift: int) -> None:
    shifted = BATCH._replace(predict_index=BATCH.predict_index + shift)

    difference = TokenScorer(llama)(shifted).double() - flat(brute_token_logps(llama, PAIRS))

    assert difference.abs().mean() > 0.5


def test_a_later_token_does_not_change_an_earlier_log_prob(llama: LlamaForCausalLM) -> None:
    changed = PAIRS[0]._replace(chosen_ids=[*PAIRS[0].chosen_ids[:-1], 33])
    scores = [TokenScorer(llama)(collate_padded([pair]))[:4] for pair in (PAIRS[0], changed)]

    assert torch.equal(scores[0][:3], scores[1][:3])
    assert (scores[0][3] - scores[1][3]).abs() > 0.01


def test_gradients_are_those_of_a_plain_forward() -> None:
    model = tiny_llama().double()
    parameters = [p for name, p in model.named_parameters()]
    weights = torch.randn(len(BATCH.targets), dtype=torch.float64)

    ours = torch.autograd.grad((TokenScorer(model)(BATCH) * weights).sum(), parameters)
    expected = torch.autograd.grad((plain_logps(model, BATCH) * weights).sum(), parameters)

    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_the_head_runs_on_scored_positions_only(llama: LlamaForCausalLM) -> None:
    score = TokenScorer(llama)
    score(BATCH)
    with head_rows(llama.lm_head) as rows:
        score(BATCH).sum().backward()

    assert rows == [0, len(BATCH.targets)]
    assert BATCH.input_ids.numel() > len(BATCH.targets)


def test_chunks_hold_through_the_whole_model(llama: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TokenScorer(llama)(BATCH)
    monkeypatch.setattr(scorer, "chunked_logps", partial(chunked_logps, chunk_logits=5 * VOCAB_SIZE))
    score = TokenScorer(llama)
    score(BATCH)
    with head_rows(llama.lm_head) as rows:
        logps = score(BATCH)
        logps.sum().backward()

    assert max(rows) == 5
    assert sum(rows) == 2 * len(BATCH.targets)
    torch.testing.assert_close(logps, whole)


def test_a_bfloat16_model_keeps_float32_statistics() -> None:
    model = tiny_llama().to(torch.bfloat16)
    score = TokenScorer(model)
    with torch.no_grad():
        hidden = model.model(input_ids=BATCH.input_ids).last_hidden_state.flatten(0, 1)[BATCH.predict_index]
        exact = model.lm_head(hidden).double().log_softmax(-1).gather(-1, BATCH.targets[:, None])[:, 0]

    logps = score(BATCH)

    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps.double(), exact, rtol=0, atol=1e-5)


def test_tied_embeddings_get_both_gradients() -> None:
    model = tiny_llama(tie_word_embeddings=True).double()
    assert model.lm_head.weight is model.model.embed_tokens.weight

    TokenScorer(model)(BATCH).sum().backward()
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
    logps = TokenScorer(model)(BATCH)
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
        logps = score(BATCH)
    again = score(BATCH)

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

    logps = score(BATCH)
    torch.testing.assert_close(logps.double(), flat(brute_token_logps(adapted, PAIRS)), rtol=0, atol=1e-5)
    assert (logps - TokenScorer(llama)(BATCH)).abs().max() > 0.1
    with torch.no_grad(), adapted.disable_adapter():
        assert torch.equal(score(BATCH), TokenScorer(llama)(BATCH))
