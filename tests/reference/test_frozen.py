"""A copy stays what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.reference import FrozenCopy
from tests.helpers.tiny import tiny_llama
from tests.reference.common import BATCH, distance, logps, policy_of, train


def bound(reference: FrozenCopy, policy: torch.nn.Module) -> FrozenCopy:
    reference.bind(policy)
    return reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lora", [None, LoRA(r=2), LoRA(r=2, init_lora_weights="pissa")], ids=["full", "lora", "pissa"])
def test_equals_the_policy_at_the_start_and_never_moves(lora: LoRA | None, dtype: torch.dtype) -> None:
    policy = policy_of(lora=lora, dtype=dtype)
    reference = bound(FrozenCopy(), policy)
    start = logps(policy)
    seen = [reference.token_logps(BATCH)]

    train(policy, after_each=lambda: seen.append(reference.token_logps(BATCH)))

    assert distance(start, seen[0]) == 0.0
    assert all(torch.equal(later, start) for later in seen)
    assert distance(logps(policy), start) > 0.1


def test_scores_without_graph_or_dropout() -> None:
    policy = policy_of(lora=LoRA(r=2, dropout=0.5, init_lora_weights=False))
    reference = bound(FrozenCopy(), policy)

    scores = reference.token_logps(BATCH)

    assert policy.training
    assert not scores.requires_grad
    assert not any(parameter.requires_grad for parameter in reference._model.parameters())
    assert scores.dtype == torch.float32
    assert torch.equal(scores, reference.token_logps(BATCH))
    assert distance(logps(policy), scores) > 0.01  # the adapter's own dropout is the policy's alone


def test_another_checkpoint(tmp_path: Path) -> None:
    other = tiny_llama(seed=7)
    other.save_pretrained(tmp_path)
    policy = policy_of()
    reference = bound(FrozenCopy(str(tmp_path)), policy)

    train(policy, steps=1)

    assert torch.equal(reference.token_logps(BATCH), logps(other))


def test_another_checkpoint_takes_the_policys_dtype_and_the_arguments(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path)
    policy = policy_of(dtype=torch.bfloat16)

    reference = bound(FrozenCopy(str(tmp_path), {"attn_implementation": "eager"}), policy)

    assert {parameter.dtype for parameter in reference._model.parameters()} == {torch.bfloat16}
    assert reference._model.config._attn_implementation == "eager"
    assert reference._model.config.use_cache is False
    assert not any(module.training for module in reference._model.modules())


def test_a_checkpoint_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"^model: no such directory: /no/such/model"):
        FrozenCopy("/no/such/model").bind(policy_of())


def test_diagnosis(tmp_path: Path) -> None:
    tiny_llama(seed=7).save_pretrained(tmp_path / "weights")
    tiny_llama(num_hidden_layers=1).save_pretrained(tmp_path / "layers")
    policy = policy_of()
    copy = bound(FrozenCopy(), policy)

    assert copy.diagnose(policy) == "the weights are equal: the same weights score differently"
    assert "has other weights" in bound(FrozenCopy(str(tmp_path / "weights")), policy).diagnose(policy)
    assert "is another model" in bound(FrozenCopy(str(tmp_path / "layers")), policy).diagnose(policy)
    train(policy, steps=1)
    assert copy.diagnose(policy) == "the reference 'copy' has other weights than the policy"
    policy.to(torch.float64)
    assert copy.diagnose(policy) == "the reference has another dtype than the policy"
