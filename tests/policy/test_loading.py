"""Loading the policy: each of these mistakes would train something else without a word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from dpo_lightning import PreferenceModule
from dpo_lightning.batch import collate_padded
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.loading import (
    LoRA,
    PolicyOptions,
    adapter_config,
    build_policy,
    disable_dropout,
    float32_buffers_kept,
    load_config,
    load_model,
    precision_dtype,
)
from dpo_lightning.utils.torch_modes import evaluating
from tests.helpers.tiny import PAIRS, VOCAB_SIZE, tiny_llama
from tools.docs.architecture_models import ARCHITECTURES, tiny_config, tiny_model

BATCH = collate_padded(PAIRS)
TOKENS = torch.randint(VOCAB_SIZE, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model, for reading only."""
    path = tmp_path_factory.mktemp("llama")
    tiny_llama().save_pretrained(path)
    return str(path)


def dtypes(model: nn.Module) -> set[torch.dtype]:
    return {parameter.dtype for parameter in model.parameters()}


def logits(model: nn.Module, tokens: Tensor = TOKENS) -> Tensor:
    with torch.no_grad():
        return model(input_ids=tokens).logits


class TestDtype:
    @pytest.mark.parametrize(
        ("precision", "dtype"),
        [
            ("32-true", torch.float32),
            ("16-mixed", torch.float32),
            ("bf16-mixed", torch.float32),
            ("bf16-true", torch.bfloat16),
            ("16-true", torch.float16),
            ("64-true", torch.float64),
            ("transformer-engine", torch.bfloat16),
            ("transformer-engine-float16", torch.float16),
            (None, torch.float32),
        ],
    )
    def test_of_a_precision(self, precision: str | None, dtype: torch.dtype) -> None:
        assert precision_dtype(precision) == dtype

    @pytest.mark.parametrize("flag", ["32", "64", "bf16", "bf16-mixed", "32-true", "bf16-true", "16-true", "64-true"])
    @pytest.mark.filterwarnings("ignore:.*is supported for historical reasons:UserWarning")
    def test_is_what_lightning_casts_to(self, flag: Any) -> None:
        trainer = pl.Trainer(accelerator="cpu", precision=flag, logger=False, barebones=True)
        cast = trainer.precision_plugin.convert_module(nn.Linear(1, 1)).weight.dtype

        assert precision_dtype(trainer.precision) == cast

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

    def test_evaluating_restores_mixed_modes(self) -> None:
        model = tiny_llama().train()
        model.model.layers[0].eval()
        before = {name: module.training for name, module in model.named_modules()}

        modes = {}
        model.register_forward_pre_hook(lambda *_: modes.update(during={m.training for m in model.modules()}))
        with pytest.raises(IndexError), evaluating(model):
            model(input_ids=TOKENS + VOCAB_SIZE)

        assert modes == {"during": {False}}
        assert {name: module.training for name, module in model.named_modules()} == before
        assert len(set(before.values())) == 2


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
            score(BATCH).sum().backward()
            gradients.append([p.grad for p in policy.parameters() if p.requires_grad])
            calls.append(len(count))

        assert calls == [1, 2]
        assert len(gradients[0]) == len(gradients[1]) > 0
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)

    def test_of_a_model_that_cannot_is_refused(self) -> None:
        with pytest.raises(InputError, match="gradient_checkpointing: Linear does not support it"):
            build_policy(nn.Linear(2, 2), torch.float32, PolicyOptions(gradient_checkpointing=True))


class TestLoRA:
    def test_every_field_reaches_peft(self, directory: str) -> None:
        lora = LoRA(
            r=3,
            alpha=5.0,
            dropout=0.25,
            target_modules=["q_proj", "v_proj"],
            use_rslora=True,
            use_dora=True,
            modules_to_save=["lm_head"],
            init_lora_weights="gaussian",
        )
        policy: Any = build_policy(directory, torch.float32, PolicyOptions(lora=lora))
        config = policy.peft_config["default"]

        assert isinstance(policy, PeftModel)
        assert config.task_type == "CAUSAL_LM"
        assert (config.r, config.lora_alpha, config.lora_dropout) == (3, 5.0, 0.25)
        assert config.target_modules == {"q_proj", "v_proj"}
        assert (config.use_rslora, config.use_dora, config.init_lora_weights) == (True, True, "gaussian")
        trainable = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
        kinds = {kind for kind in ("lora_A", "lora_B", "magnitude", "lm_head") for name in trainable if kind in name}
        assert kinds == {"lora_A", "lora_B", "magnitude", "lm_head"}
        assert all("q_proj" in name or "v_proj" in name or "lm_head" in name for name in trainable)
        # rsLoRA: alpha / sqrt(r) instead of alpha / r.
        assert policy.model.model.layers[0].self_attn.q_proj.scaling == {"default": pytest.approx(5 / 3**0.5)}

    def test_all_linear_leaves_the_head_out(self, directory: str) -> None:
        policy = build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(r=2)))
        trainable = [name for name, parameter in policy.named_parameters() if parameter.requires_grad]

        assert len(trainable) == 2 * 7 * 2  # A and B on seven projections of two layers
        assert not any("lm_head" in name for name in trainable)

    def test_starts_as_the_base_model(self, directory: str) -> None:
        policy = build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(r=2)))

        assert torch.equal(logits(policy), logits(tiny_llama()))

    def test_on_a_plain_module(self) -> None:
        plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        policy = build_policy(plain, torch.float32, PolicyOptions(lora=LoRA(r=2, target_modules=["0"])))

        assert [name for name, p in policy.named_parameters() if p.requires_grad] == [
            "base_model.model.0.lora_A.default.weight",
            "base_model.model.0.lora_B.default.weight",
        ]

    @pytest.mark.parametrize("settings", [{"r": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"dropout": -0.1}], ids=str)
    def test_refuses_settings_without_meaning(self, settings: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=r"^lora: r >= 1, alpha > 0 and 0 <= dropout < 1 are needed"):
            LoRA(**settings)

    def test_unknown_target_is_one_line(self, directory: str) -> None:
        with pytest.raises(InputError, match=r"^lora: Target modules .*nowhere.* not found") as caught:
            build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(target_modules=["nowhere"])))
        assert "\n" not in str(caught.value)

    def test_on_an_adapted_model_is_refused(self, directory: str) -> None:
        adapted = build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(r=2)))

        with pytest.raises(InputError, match="carries a trained adapter already"):
            build_policy(adapted, torch.float32, PolicyOptions(lora=LoRA(r=2)))


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

        scores = TokenScorer(policy)(BATCH)
        scores.sum().backward()

        assert scores.isfinite().all()
        exact = TokenScorer(tiny_model(architecture))(BATCH)
        assert (scores - exact).abs().mean() < 0.1


class TestLoading:
    @pytest.mark.parametrize(
        "load", [lambda name: load_model(name, torch.float32), load_config], ids=["model", "config"]
    )
    @pytest.mark.parametrize("name", ["/no/such/directory", "./nowhere", "nobody/nothing", "not a name"])
    def test_of_an_unknown_name_is_one_line(self, name: str, load: Any) -> None:
        with pytest.raises(InputError, match=r"^model") as caught:
            load(name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_of_a_directory_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"^model .*model_type"):
            load_model(str(tmp_path), torch.float32)

    def test_refuses_weights_that_would_be_random(self, tmp_path: Path) -> None:
        tiny_llama().model.save_pretrained(tmp_path)

        with pytest.raises(InputError, match=r"1 weights are not in it and would be random: \['lm_head.weight'\]"):
            load_model(str(tmp_path), torch.float32)

    def test_of_broken_files_is_one_line(self, tmp_path: Path) -> None:
        tiny_llama().save_pretrained(tmp_path)
        config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
        good_config, good_weights = config.read_text(), weights.read_bytes()
        broken = [
            (good_config, good_weights[:1000], "deserializing"),
            (good_config.replace('"intermediate_size": 48', '"intermediate_size": 64'), good_weights, "mismatch"),
            (good_config.replace('"intermediate_size": 48', '"intermediate_size": "x"'), good_weights, "expected int"),
        ]
        for config_text, weight_bytes, message in broken:
            config.write_text(config_text)
            weights.write_bytes(weight_bytes)
            with pytest.raises(InputError, match=rf"^model .*{message}") as caught:
                load_model(str(tmp_path), torch.float32)
            assert "\n" not in str(caught.value)

    def test_runs_no_code_of_a_model_unless_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "own.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
        monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked at the terminal"))

        for load in (load_config, lambda name: load_model(name, torch.float32)):
            with pytest.raises(InputError, match="trust_remote_code"):
                load(str(tmp_path))
        assert not (tmp_path / "ran").exists()

    def test_tied_weights_are_not_missing(self, tmp_path: Path) -> None:
        tied = tiny_llama(tie_word_embeddings=True)
        tied.save_pretrained(tmp_path)

        assert torch.equal(logits(load_model(str(tmp_path), torch.float32)), logits(tied))

    def test_model_kwargs_are_passed_on(self, directory: str) -> None:
        model: Any = load_model(directory, torch.float32, model_kwargs={"attn_implementation": "eager"})

        assert model.config._attn_implementation == "eager"
        with pytest.raises(InputError, match=r"^model .*attn_implementation"):
            load_model(directory, torch.float32, model_kwargs={"attn_implementation": "no_such"})

    def test_options_for_loading_do_not_fit_a_module(self) -> None:
        for options in (PolicyOptions(model_kwargs={"revision": "x"}), PolicyOptions(quantization_config={"a": 1})):
            with pytest.raises(InputError, match="load a model: give its name, not a module"):
                build_policy(tiny_llama(), torch.float32, options)

    def test_config_of_a_model(self, directory: str) -> None:
        assert load_config(directory).hidden_size == 32
        assert adapter_config(directory) is None


class TestTrainedAdapter:
    @pytest.fixture(scope="class")
    def adapter(self, directory: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """An adapter that is not a no-op, on the saved model."""
        path = tmp_path_factory.mktemp("adapter")
        lora = LoRA(r=2, dropout=0.3, init_lora_weights=False)
        build_policy(directory, torch.float32, PolicyOptions(lora=lora)).save_pretrained(path)
        return path

    def test_is_loaded_trainable_on_its_frozen_base(self, directory: str, adapter: Path) -> None:
        policy = build_policy(str(adapter), torch.float32, PolicyOptions())

        assert load_config(str(adapter)).hidden_size == 32
        assert adapter_config(str(adapter)).r == 2
        assert {"lora_" in name for name, p in policy.named_parameters() if p.requires_grad} == {True}
        assert (logits(policy) - logits(load_model(directory, torch.float32))).abs().max() > 0.01
        assert torch.equal(logits(policy), logits(policy))  # in train mode: its dropout is off

    def test_is_not_covered_by_a_second_one(self, adapter: Path) -> None:
        with pytest.raises(InputError, match="leave `lora` out to train that one on"):
            build_policy(str(adapter), torch.float32, PolicyOptions(lora=LoRA(r=2)))

    def test_without_its_base(self, adapter: Path, tmp_path: Path) -> None:
        for base, message in ((None, "has no base_model_name_or_path"), ("/moved/away", "/moved/away")):
            settings = json.loads((adapter / "adapter_config.json").read_text())
            (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": base}))

            with pytest.raises(InputError, match=message):
                load_model(str(tmp_path), torch.float32)


@pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes")
class TestQuantized:
    SETTINGS: ClassVar = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}

    @pytest.fixture(scope="class")
    def large_enough(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """4-bit blocks have 64 weights."""
        pytest.importorskip("bitsandbytes")
        path = tmp_path_factory.mktemp("quantized")
        tiny_llama(hidden_size=64, intermediate_size=64).save_pretrained(path)
        return str(path)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_trains_only_the_adapter(self, large_enough: str, dtype: torch.dtype) -> None:
        options = PolicyOptions(lora=LoRA(r=2), quantization_config=self.SETTINGS, gradient_checkpointing=True)
        policy = build_policy(large_enough, dtype, options)
        score = TokenScorer(policy)
        trainable = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        quantized = {name: p.clone() for name, p in policy.named_parameters() if p.dtype == torch.uint8}
        optimizer = torch.optim.SGD(trainable.values(), lr=0.01)
        losses = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = -score(BATCH).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

        assert len(quantized) == 14
        assert len(trainable) == 28
        assert all("lora_" in name for name in trainable)
        assert losses == sorted(losses, reverse=True)
        assert len(set(losses)) == 3
        for name, parameter in policy.named_parameters():
            assert torch.equal(parameter, quantized.get(name, parameter))

    def test_is_close_to_the_original(self, large_enough: str) -> None:
        policy = build_policy(large_enough, torch.float32, PolicyOptions(quantization_config=self.SETTINGS))
        original = AutoModelForCausalLM.from_pretrained(large_enough)

        difference = TokenScorer(policy)(BATCH) - TokenScorer(original)(BATCH)

        assert 0 < difference.abs().mean() < 1
        assert not any(parameter.requires_grad for parameter in policy.parameters())

    def test_unknown_setting_is_one_line(self, large_enough: str) -> None:
        with pytest.raises(InputError, match=r"^quantization_config: ") as caught:
            load_model(large_enough, torch.float32, {"load_in_4bit": "yes"})
        assert "\n" not in str(caught.value)
