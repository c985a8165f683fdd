"""A copy stays what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.reference import FrozenCopy, FrozenModule
from tests.helpers.tiny import tiny_llama
from tests.reference.common import BATCH, distance, logps, policy_of, train


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lora", [None, LoRA(r=2), LoRA(r=2, init_lora_weights="pissa")], ids=["full", "lora", "pissa"])
def test_equals_the_policy_at_the_start_and_never_moves(lora: LoRA | None, dtype: torch.dtype) -> None:
    policy = policy_of(lora=lora, dtype=dtype)
    reference = FrozenCopy().bind(policy)
    start = logps(policy)
    seen = [reference.token_logps(BATCH)]

    train(policy, after_each=lambda: seen.append(reference.token_logps(BATCH)))

    assert distance(start, seen[0]) == 0.0
    assert all(torch.equal(later, start) for later in seen)
    assert distance(logps(policy), start) > 0.1


@pytest.mark.parametrize("model", [torch.nn.Linear(1, 1), torch.nn.Module()], ids=["linear", "bare"])
def test_a_module_that_is_no_language_model_is_refused(model: torch.nn.Module) -> None:
    with pytest.raises(InputError, match=r"^reference: the forward of \w+ with `input_ids` gives no logits"):
        FrozenModule(model).bind(policy_of())


def test_scores_without_graph_or_dropout() -> None:
    policy = policy_of(lora=LoRA(r=2, dropout=0.5, init_lora_weights=False))
    reference = FrozenCopy().bind(policy)

    scores = reference.token_logps(BATCH)

    assert policy.training
    assert not scores.requires_grad
    assert not any(parameter.requires_grad for parameter in reference.own_models()[0].parameters())
    assert scores.dtype == torch.float32
    assert torch.equal(scores, reference.token_logps(BATCH))
    assert distance(logps(policy), scores) > 0.01  # the adapter's own dropout is the policy's alone


def test_another_checkpoint(tmp_path: Path) -> None:
    other = tiny_llama(seed=7)
    other.save_pretrained(tmp_path)
    policy = policy_of()
    reference = FrozenCopy(str(tmp_path)).bind(policy)

    train(policy, steps=1)

    assert torch.equal(reference.token_logps(BATCH), logps(other))


def test_another_checkpoint_takes_the_policys_dtype_and_the_arguments(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path)
    policy = policy_of(dtype=torch.bfloat16)

    reference = FrozenCopy(str(tmp_path), {"attn_implementation": "eager"}).bind(policy)
    (model,) = reference.own_models()

    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"
    assert model.config.use_cache is False
    assert not any(module.training for module in model.modules())


def test_a_checkpoint_that_is_not_there() -> None:
    with pytest.raises(
        InputError, match=r"^model\.reference: FrozenCopy\.checkpoint: no such directory: /no/such/model"
    ):
        FrozenCopy("/no/such/model").bind(policy_of())


def test_diagnosis(tmp_path: Path) -> None:
    tiny_llama(seed=7).save_pretrained(tmp_path / "weights")
    tiny_llama(num_hidden_layers=1).save_pretrained(tmp_path / "layers")
    policy = policy_of()
    copy = FrozenCopy().bind(policy)

    assert copy.diagnose() == "the weights are equal: the same weights score differently"
    assert "has other weights" in FrozenCopy(str(tmp_path / "weights")).bind(policy).diagnose()
    assert "is another model" in FrozenCopy(str(tmp_path / "layers")).bind(policy).diagnose()
    train(policy, steps=1)
    assert copy.diagnose() == "the reference 'copy' has other weights than the policy"
    policy.to(torch.float64)
    assert copy.diagnose() == "the reference has another dtype than the policy"


class TestHeldNarrow:
    """Under mixed precision the linear layers of a copy are held in the dtype of their products."""

    @pytest.mark.parametrize("device", ["cpu", "cuda"])
    @pytest.mark.parametrize("rounded", [True, False])
    def test_scores_the_same_under_autocast_and_without(self, device: str, rounded: bool) -> None:
        policy = policy_of(tiny_llama().bfloat16().float() if rounded else tiny_llama())
        reference, plain = FrozenCopy().bind(policy), FrozenCopy().bind(policy)

        assert reference.hold_narrow("bf16-mixed", torch.device(device)) == (15 if rounded or device == "cuda" else 0)
        for mixed in (True, False):
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                assert torch.equal(reference.token_logps(BATCH), plain.token_logps(BATCH))

    @pytest.mark.parametrize("read", ["followed", "own_weights", "diagnose"])
    def test_has_its_weights_for_those_who_ask(self, read: str) -> None:
        policy = policy_of()
        reference = FrozenCopy().bind(policy)
        reference.hold_narrow("bf16-mixed", torch.device("cuda"))
        assert torch.bfloat16 in {each.dtype for each in reference.own_models()[0].parameters()}

        found: Any = getattr(reference, read)()

        if read == "diagnose":
            assert found == "the weights are equal: the same weights score differently"
        if read == "followed":
            assert all(torch.equal(*pair) for pair in found.values())
        held = dict(reference.own_models()[0].named_parameters())
        assert all(torch.equal(held[name], value) for name, value in policy.named_parameters())

    def test_leaves_adapters_and_what_was_given_alone(self) -> None:
        given = FrozenModule(tiny_llama(seed=7)).bind(policy_of())
        for reference in (FrozenCopy().bind(policy_of(lora=LoRA(r=2))), given):
            assert reference.hold_narrow("bf16-mixed", torch.device("cuda")) == 0
            assert {each.dtype for each in reference.own_models()[0].parameters()} == {torch.float32}


def test_a_model_is_moved_where_it_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = FrozenCopy().bind(policy_of())
    moves = []
    monkeypatch.setattr(reference.own_models()[0], "to", moves.append)
    reference.token_logps(BATCH)
    with reference.generating() as model:
        assert model is reference.own_models()[0]
    assert moves == []
    reference._scorer.on(torch.device("meta"))  # type: ignore[attr-defined]
    assert moves == [torch.device("meta")]


class TestFrozenModule:
    def test_is_the_model_itself_frozen(self) -> None:
        model = tiny_llama(seed=7, attention_dropout=0.5).train()
        expected = logps(tiny_llama(seed=7))
        policy = policy_of()

        reference = FrozenModule(model).bind(policy)
        train(policy)

        assert torch.equal(reference.token_logps(BATCH), expected)
        assert reference.own_models() == [model]
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not any(module.training for module in model.modules())
        assert model.config.use_cache is False

    def test_serves_many_policies(self) -> None:
        settings = FrozenModule(tiny_llama(seed=7))
        first, second = (settings.bind(policy_of()) for _ in range(2))
        assert torch.equal(first.token_logps(BATCH), second.token_logps(BATCH))

    @pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["full", "lora"])
    def test_cannot_be_what_is_trained(self, lora: LoRA | None) -> None:
        model = tiny_llama()
        policy = policy_of(model, lora)
        with pytest.raises(InputError, match=r"the module shares \d+ parameters with the policy \(.*, \.\.\.\), so it"):
            FrozenModule(model).bind(policy)
        assert any(parameter.requires_grad for parameter in policy.parameters())

    def test_cannot_follow(self) -> None:
        with pytest.raises(InputError, match="a module that was given, and stays as it is: save it and use FrozenCopy"):
            FrozenModule(tiny_llama(seed=7)).bind(policy_of()).followed()

    def test_diagnosis(self) -> None:
        other = FrozenModule(tiny_llama(seed=7)).bind(policy_of())
        assert other.diagnose() == "the reference module has other weights than the policy"


class TestCopyOfAModule:
    def test_is_taken_when_it_is_given(self) -> None:
        model = tiny_llama(seed=7)
        expected = logps(model)
        settings = FrozenCopy(model).taken()
        with torch.no_grad():
            model.lm_head.weight.mul_(2)
        assert torch.equal(settings.bind(policy_of()).token_logps(BATCH), expected)
        assert all(parameter.requires_grad for parameter in model.parameters())  # the model itself is left alone

    def test_may_be_of_the_policy_itself(self) -> None:
        policy = policy_of()
        reference = FrozenCopy(policy).bind(policy)
        start = logps(policy)
        train(policy)
        assert torch.equal(reference.token_logps(BATCH), start)

    def test_of_something_else_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"^FrozenCopy.checkpoint: .*PosixPath.* is no Module: write '"):
            FrozenCopy(tmp_path)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"^FrozenCopy.model_kwargs load a model: give its name, not a module$"):
            FrozenCopy(tiny_llama(), {"revision": "main"})
