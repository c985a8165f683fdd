"""Making the policy ready: each of these mistakes would train something else without a word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from dpo_lightning import PreferenceModule
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy, disable_dropout, float32_buffers_kept
from tests.helpers.tiny import VOCAB_SIZE, tiny_llama
from tests.policy.common import BATCH, TOKENS, dtypes, logits
from tools.docs.architecture_models import ARCHITECTURES, tiny_config, tiny_model


class TestDtype:
    def test_follows_the_precision_and_not_the_checkpoint(self, tmp_path: Path) -> None:
        tiny_llama().to(torch.bfloat16).save_pretrained(tmp_path)

        assert dtypes(build_policy(str(tmp_path), torch.float32, PolicyOptions())) == {torch.float32}
        assert dtypes(build_policy(str(tmp_path), torch.bfloat16, PolicyOptions())) == {torch.bfloat16}

    def test_of_a_module_and_of_adapters(self, directory: str) -> None:
        adapted = build_policy(directory, torch.bfloat16, PolicyOptions(lora=LoRA(r=2)))

        assert dtypes(adapted) == {torch.bfloat16}  # PEFT would make the adapter float32
        assert dtypes(build_policy(tiny_llama(), torch.bfloat16, PolicyOptions())) == {torch.bfloat16}


class TestModes:
    def test_train_mode_everywhere(self, directory: str) -> None:
        for source in (directory, tiny_llama().eval()):
            policy = build_policy(source, torch.float32, PolicyOptions())

            assert all(module.training for module in policy.modules())

    def test_no_cache_even_in_a_model_inside(self) -> None:
        class Outer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = tiny_llama()
                self.config = SimpleNamespace(use_cache=True)

        policy = build_policy(Outer(), torch.float32, PolicyOptions())

        assert policy.config.use_cache is False
        assert policy.inner.config.use_cache is False
        assert policy.inner(input_ids=TOKENS).past_key_values is None

    def test_options_for_loading_do_not_fit_a_module(self) -> None:
        bits = PolicyOptions(quantization_config={"load_in_4bit": True})
        for options in (PolicyOptions(model_kwargs={"revision": "x"}), bits):
            with pytest.raises(InputError, match="load a model: give its name, not a module"):
                build_policy(tiny_llama(), torch.float32, options)


def model_with_dropout(architecture: str) -> nn.Module:
    rates = {
        name: 0.4
        for name, value in vars(tiny_config(architecture)).items()
        if "drop" in name and isinstance(value, float)
    }
    assert rates
    return tiny_model(architecture, **rates)


class TestDropout:
    @pytest.mark.parametrize(
        "architecture",
        ["llama", "qwen2", "gemma2", "phi", "gpt_neox", "gpt2", "gptj", "opt", "bloom", "falcon", "gpt_oss", "mistral"],
    )
    def test_is_off_everywhere(self, architecture: str) -> None:
        model = model_with_dropout(architecture).train()
        assert not torch.equal(logits(model), logits(model))

        policy = build_policy(model, torch.float32, PolicyOptions())

        assert torch.equal(logits(policy), logits(policy))
        assert torch.equal(logits(policy), logits(policy.eval()))

    def test_can_be_kept(self) -> None:
        policy = build_policy(model_with_dropout("gpt2"), torch.float32, PolicyOptions(dropout=True))

        assert not torch.equal(logits(policy), logits(policy))

    def test_rates_by_any_name_but_nothing_else(self) -> None:
        @dataclass(frozen=True)
        class Settings:
            resid_pdrop: float = 0.1
            scale: float = 0.5

        class Custom(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.config = Settings()
                self.attention_dropout, self.layerdrop, self.drop_prob = 0.1, 0.1, 0.1
                self.drop_tokens, self.epsilon = True, 0.1
                self.inner = nn.Dropout2d(0.1)

        model = Custom()
        disable_dropout(model)

        assert (model.attention_dropout, model.layerdrop, model.drop_prob, model.inner.p) == (0, 0, 0, 0)
        assert (model.config.resid_pdrop, model.config.scale) == (0, 0.5)
        assert (model.drop_tokens, model.epsilon) == (True, 0.1)

    def test_of_the_adapter_stays(self, directory: str) -> None:
        policy = build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(r=2, dropout=0.4)))
        rates = {module.p for module in policy.modules() if isinstance(module, nn.Dropout)}

        assert rates == {0.4}


class TestCheckpointing:
    @pytest.mark.parametrize("lora", [None, LoRA(r=2, init_lora_weights=False)], ids=["full", "lora"])
    def test_recomputes_and_changes_no_gradient(self, lora: LoRA | None) -> None:
        gradients, calls = [], []
        for on in (False, True):
            torch.manual_seed(1)
            policy = build_policy(tiny_llama(), torch.float64, PolicyOptions(lora=lora, gradient_checkpointing=on))
            score = TokenScorer(policy)
            score(BATCH)
            count: list[int] = []
            layers = policy.model.layers if lora is None else policy.model.model.layers
            # Before it runs: the recomputation stops as soon as it has what the backward needs.
            layers[0].mlp.register_forward_pre_hook(lambda *_, count=count: count.append(1))
            score(BATCH).logps.sum().backward()
            gradients.append([p.grad for p in policy.parameters() if p.requires_grad])
            calls.append(len(count))

        assert calls == [1, 2]
        assert len(gradients[0]) == len(gradients[1]) > 0
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)

    def test_of_a_model_that_cannot_is_refused(self) -> None:
        with pytest.raises(InputError, match="gradient_checkpointing: Linear does not support it: leave it out"):
            build_policy(nn.Linear(2, 2), torch.float32, PolicyOptions(gradient_checkpointing=True))


class TestFloat32Buffers:
    @pytest.fixture(scope="class")
    def sharp(self) -> LlamaForCausalLM:
        """Attention that depends on far positions, in a float32 model for 4096 of them."""
        return tiny_llama(num_hidden_layers=1, max_position_embeddings=4096, initializer_range=0.5).eval()

    def test_stay_float32_however_the_model_is_cast(self, directory: str) -> None:
        module = PreferenceModule(directory)
        module.configure_model()
        module.to(torch.bfloat16)
        policies: list[Any] = [
            build_policy(directory, torch.bfloat16, PolicyOptions()),
            build_policy(tiny_llama(), torch.bfloat16, PolicyOptions()),
            module.policy,
        ]

        for policy in policies:
            assert dtypes(policy) == {torch.bfloat16}
            assert policy.model.rotary_emb.inv_freq.dtype == torch.float32
            assert torch.equal(policy.model.rotary_emb.inv_freq, tiny_llama().model.rotary_emb.inv_freq)

    def test_hold_up_at_far_positions(self, sharp: LlamaForCausalLM) -> None:
        tokens = torch.randint(VOCAB_SIZE, (1, 4096))
        exact = logits(sharp, tokens)[:, -100:]
        errors = {}
        for kept in (True, False):
            model = tiny_llama(num_hidden_layers=1, max_position_embeddings=4096, initializer_range=0.5).eval()
            if kept:
                with float32_buffers_kept(model):
                    model.to(torch.bfloat16)
            else:
                model.to(torch.bfloat16)
            errors[kept] = (logits(model, tokens)[:, -100:].float() - exact).abs().mean().item() / exact.std().item()

        assert errors[True] < 0.1
        assert errors[False] > 3 * errors[True]

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_do_not_break_a_forward(self, architecture: str) -> None:
        policy = build_policy(tiny_model(architecture), torch.bfloat16, PolicyOptions())

        scores = TokenScorer(policy)(BATCH).logps
        scores.sum().backward()

        assert scores.isfinite().all()
        exact = TokenScorer(tiny_model(architecture))(BATCH).logps
        assert (scores - exact).abs().mean() < 0.1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"quantization_config": {}}, "model.quantization_config quantizes nothing: set load_in_4bit or load_in_8bit"),
        ({"quantization_config": {"bnb_4bit_use_double_quant": True}}, "model.quantization_config quantizes nothing"),
        ({"quantization_config": {"load_in_4bits": True}}, "model.quantization_config.load_in_4bits is no setting"),
        ({"quantization_config": {True: 1}}, "model.quantization_config: True is no name of an argument"),
        ({"model_kwargs": {3: 1}}, "model.model_kwargs: 3 is no name of an argument: put it in quotes"),
        ({"router_aux_loss_coef": -1.0}, "model.router_aux_loss_coef must be a finite number of at least 0, got -1.0"),
    ],
)
def test_options_that_nothing_reads_are_refused_before_a_model_is_loaded(options: Any, line: str) -> None:
    with pytest.raises(InputError) as refused:
        PolicyOptions(**options)
    assert str(refused.value).startswith(line)
