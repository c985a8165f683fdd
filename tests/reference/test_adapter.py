"""The policy's own weights, with the adapter off or with a frozen one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoHaConfig, LoraConfig, PeftModel, get_peft_model
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.loading import adapter_config
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.reference import AdapterOff, FrozenAdapter, default_reference
from tests.helpers.tiny import tiny_llama
from tests.reference.common import BATCH, distance, logps, policy_of, train

VARIANTS = {
    "lora": LoRA(r=2),
    "dropout": LoRA(r=2, dropout=0.5),
    "modules_to_save": LoRA(r=2, modules_to_save=["lm_head"]),
    "rslora": LoRA(r=2, use_rslora=True),
    "dora": LoRA(r=2, use_dora=True),
    "no-op not at start": LoRA(r=2, init_lora_weights=False),
    "head": LoRA(r=2, target_modules=["q_proj", "lm_head"]),
}
every_variant = pytest.mark.parametrize("lora", VARIANTS.values(), ids=VARIANTS)


def state(policy: nn.Module) -> tuple[dict[str, bool], dict[str, bool]]:
    """Which modules are in train mode, and which parameters are trainable."""
    return (
        {name: module.training for name, module in policy.named_modules()},
        {name: parameter.requires_grad for name, parameter in policy.named_parameters()},
    )


def is_dropout(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Dropout) and module.p > 0


class TestAdapterOff:
    @every_variant
    def test_is_the_base_model_at_every_step(self, lora: LoRA) -> None:
        policy = policy_of(lora=lora)
        reference = AdapterOff().bind(policy)
        base = logps(tiny_llama().eval())
        seen = [reference.token_logps(BATCH)]

        train(policy, after_each=lambda: seen.append(reference.token_logps(BATCH)))

        assert len(seen) == 4
        assert all(torch.equal(scores, seen[0]) for scores in seen)
        # An adapted head is no plain linear layer, and sums in another order.
        torch.testing.assert_close(seen[0], base, rtol=0, atol=1e-5 if "lm_head" in str(lora) else 0)
        assert distance(logps(policy), base) > 0.1

    @pytest.mark.parametrize("own", [0.5, 0.0])
    def test_scores_without_dropout_and_leaves_everything_as_it_was(self, own: float) -> None:
        policy = policy_of(lora=LoRA(r=2, dropout=0.5, modules_to_save=["lm_head"]))
        inner = policy.base_model.model.model
        inner.norm = torch.nn.Sequential(inner.norm, torch.nn.Dropout(own))
        policy.base_model.model.model.layers[0].eval()
        before = state(policy)
        modes: set[bool] = set()
        policy.base_model.model.lm_head.register_forward_hook(
            lambda *_: modes.update(module.training for module in policy.modules() if own or is_dropout(module))
        )
        reference = AdapterOff().bind(policy)

        scores = reference.token_logps(BATCH)

        assert modes == {False}
        assert state(policy) == before
        assert not scores.requires_grad

    @pytest.mark.parametrize("initialisation", ["pissa", "pissa_niter_4", "olora"])
    def test_refuses_initialisations_that_change_the_base_weights(self, initialisation: str) -> None:
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=initialisation)
        policy = policy_of(get_peft_model(tiny_llama(), config))
        with pytest.raises(InputError, match=f"init_lora_weights='{initialisation}' moves part of the base weights"):
            AdapterOff().bind(policy)

        # The reason is real: without the adapter this is not the original model, and with it, it is.
        with policy.disable_adapter():
            assert distance(logps(policy), logps(tiny_llama())) > 0.1
        assert distance(logps(policy), logps(tiny_llama())) < 1e-4

    @pytest.mark.filterwarnings("ignore:Careful, disabling adapter layers with bias:UserWarning")
    def test_refuses_base_weights_that_are_trained_too(self) -> None:
        with_biases = get_peft_model(tiny_llama(attention_bias=True), LoraConfig(r=2, bias="all"))
        with_norms = policy_of(lora=LoRA(r=2))
        with_norms.base_model.model.model.norm.weight.requires_grad_(True)

        for policy, count, name in ((with_biases, 8, "bias"), (with_norms, 1, r"norm\.weight")):
            before = state(policy)
            for reference in (AdapterOff(), FrozenAdapter()):
                with pytest.raises(InputError, match=rf"{count} base parameters are trained too \(.*{name}, \.\.\.\)"):
                    reference.bind(policy)
            assert state(policy) == before

    def test_needs_adapters(self) -> None:
        for reference in (AdapterOff(), FrozenAdapter()):
            with pytest.raises(InputError, match="needs a policy with adapters"):
                reference.bind(policy_of())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("base")
    tiny_llama().save_pretrained(path)
    return str(path)


def trained_adapter(base: str, lora: LoRA, path: Path) -> str:
    """The directory of an adapter that training has moved."""
    policy = policy_of(base, lora)
    train(policy)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting `save_embedding_layers`")  # PEFT's, on an adapted head
        policy.save_pretrained(path)
    return str(path)


class TestFrozenAdapter:
    @pytest.mark.parametrize(
        "lora",
        [
            LoRA(r=2),
            LoRA(r=2, modules_to_save=["lm_head"]),
            LoRA(r=2, use_dora=True),
            LoRA(r=2, use_rslora=True, dropout=0.2),
            LoRA(r=2, target_modules=["q_proj", "lm_head"]),
        ],
        ids=["lora", "modules_to_save", "dora", "rslora", "head"],
    )
    def test_stays_the_adapter_that_was_loaded(self, base: str, lora: LoRA, tmp_path: Path) -> None:
        path = trained_adapter(base, lora, tmp_path)
        policy = policy_of(path)
        start = logps(policy)
        trainable = [name for name, parameter in policy.named_parameters() if parameter.requires_grad]
        settings = default_reference(policy, trained_adapter=adapter_config(path) is not None)
        reference = settings.bind(policy)
        assert [name for name, parameter in policy.named_parameters() if parameter.requires_grad] == trainable
        seen = [reference.token_logps(BATCH)]

        train(policy, after_each=lambda: seen.append(reference.token_logps(BATCH)))

        assert settings == FrozenAdapter()
        assert all(torch.equal(scores, start) for scores in seen)
        assert distance(start, logps(tiny_llama())) > 0.1
        assert distance(start, logps(policy)) > 0.1
        assert [name for name, parameter in policy.named_parameters() if parameter.requires_grad] == trainable
        copies = [name for name, _ in policy.named_parameters() if f".{FrozenAdapter.NAME}." in name]
        assert len(copies) == len(trainable)

    def test_copies_a_pissa_adapter_without_touching_the_base_again(self, base: str, tmp_path: Path) -> None:
        policy = policy_of(trained_adapter(base, LoRA(r=2, init_lora_weights="pissa"), tmp_path))
        start = logps(policy)

        reference = FrozenAdapter().bind(policy)

        assert torch.equal(reference.token_logps(BATCH), start)
        assert torch.equal(logps(policy), start)

    def test_copies_an_adapter_of_another_kind(self) -> None:
        policy = get_peft_model(tiny_llama(), LoHaConfig(r=2, target_modules=["q_proj"], init_weights=False)).train()
        start = logps(policy)
        reference = default_reference(policy, trained_adapter=True).bind(policy)

        train(policy)

        assert torch.equal(reference.token_logps(BATCH), start)
        assert distance(logps(policy), start) > 0.1

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_has_the_policys_dtype(self, base: str, tmp_path: Path, dtype: torch.dtype) -> None:
        policy = policy_of(trained_adapter(base, LoRA(r=2), tmp_path), dtype=dtype)
        reference = FrozenAdapter().bind(policy)

        assert {parameter.dtype for parameter in policy.parameters()} == {dtype}
        assert torch.equal(reference.token_logps(BATCH), logps(policy))

    def test_scores_in_eval_mode_and_leaves_everything_as_it_was(self, base: str) -> None:
        policy = policy_of(base, LoRA(r=2, dropout=0.5, init_lora_weights=False))
        reference = FrozenAdapter().bind(policy)
        policy.base_model.model.model.layers[0].eval()
        before = state(policy)

        scores = reference.token_logps(BATCH)

        assert policy.active_adapter == "default"
        assert state(policy) == before
        assert not scores.requires_grad
        assert torch.equal(scores, reference.token_logps(BATCH))  # no dropout in it

    def test_gradients_reach_the_trained_adapter_only(self, base: str) -> None:
        policy = policy_of(base, LoRA(r=2, init_lora_weights=False))
        reference = FrozenAdapter().bind(policy)
        before = {n: p.clone() for n, p in policy.named_parameters() if f".{FrozenAdapter.NAME}." in n}

        train(policy, steps=1)
        reference.token_logps(BATCH)

        assert {".default." in name for name, p in policy.named_parameters() if p.grad is not None} == {True}
        assert all(torch.equal(p, before[n]) for n, p in policy.named_parameters() if n in before)


def test_scoring_a_quantized_reference_costs_the_policy_no_gradient(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    tiny_llama(hidden_size=64, intermediate_size=64).save_pretrained(tmp_path)
    lora = LoRA(r=2, init_lora_weights=False)
    options = PolicyOptions(lora=lora, quantization_config={"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"})
    policy = build_policy(str(tmp_path), torch.float32, options)
    reference = AdapterOff().bind(policy)
    gradients = []
    for scored in (False, True):
        if scored:
            reference.token_logps(BATCH)
        policy.zero_grad()
        TokenScorer(policy)(BATCH).logps.sum().backward()
        gradients.append([p.grad for p in policy.parameters() if p.requires_grad])

    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert all(gradient.abs().max() > 0 for gradient in gradients[0])


def test_quantized_base_with_adapter_off_and_frozen_adapter(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    tiny_llama(hidden_size=64, intermediate_size=64).save_pretrained(tmp_path / "base")
    options = PolicyOptions(lora=LoRA(r=2), quantization_config={"load_in_4bit": True})
    policy = build_policy(str(tmp_path / "base"), torch.float32, options)
    off = AdapterOff().bind(policy)
    start = logps(policy)
    train(policy)
    policy.save_pretrained(tmp_path / "adapter")
    again: Any = build_policy(
        str(tmp_path / "adapter"), torch.float32, PolicyOptions(quantization_config={"load_in_4bit": True})
    )
    reference = FrozenAdapter().bind(again)

    assert torch.equal(off.token_logps(BATCH), start)
    assert distance(reference.token_logps(BATCH), logps(policy)) < 1e-5
    assert isinstance(again, PeftModel)


@pytest.mark.filterwarnings("ignore:Adapter name 'reference':UserWarning")
def test_the_copy_takes_a_name_that_is_free() -> None:
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    policy = policy_of(get_peft_model(tiny_llama(), config, adapter_name="reference"))
    before = logps(policy)

    reference = FrozenAdapter().bind(policy)
    train(policy)

    assert [*policy.peft_config] == ["reference", "reference_"]
    assert torch.equal(reference.token_logps(BATCH), before)
    assert distance(logps(policy), before) > 0.1
    assert policy.active_adapters == ["reference"]


def test_an_adapter_that_cannot_have_a_copy_says_so() -> None:
    config = AdaLoraConfig(r=2, target_modules=["q_proj"], total_step=9)
    policy = policy_of(get_peft_model(tiny_llama(), config))
    with pytest.raises(InputError, match=r"cannot have a copy beside the adapter \(AdaLoraModel.*use the reference Fr"):
        FrozenAdapter().bind(policy)
    assert [*policy.peft_config] == ["default"]
