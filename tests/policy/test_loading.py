"""Loading by name: whole models, trained adapters and quantized ones, or one line that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_lightning.compat.transformers import named_attentions
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy.loading import adapter_config, load_config, load_model, untrained_model
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tests.helpers.tiny import tiny_llama
from tests.policy.common import BATCH, logits


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

        with pytest.raises(InputError, match=r"1 weights are .* would be random: \['lm_head.weight'\]; give a whole"):
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

    def test_takes_no_kernel_that_a_config_names_unless_told(self, directory: str, tmp_path: Path) -> None:
        settings = json.loads((Path(directory) / "config.json").read_text())
        settings["attn_implementation"] = "somebody/kernel"
        (tmp_path / "config.json").write_text(json.dumps(settings))
        refused = "its config names the kernel 'somebody/kernel', which is code"
        with pytest.raises(InputError, match=refused):
            untrained_model(settings)
        reads_it = "somebody/kernel" in named_attentions(AutoConfig.from_pretrained(tmp_path))  # transformers 5 does
        for load in (load_config, lambda name: load_model(name, torch.float32)) if reads_it else ():
            with pytest.raises(InputError, match=refused):
                load(str(tmp_path))
        assert load_config(str(tmp_path), {"attn_implementation": "eager"}).hidden_size

    def test_tied_weights_are_not_missing(self, tmp_path: Path) -> None:
        tied = tiny_llama(tie_word_embeddings=True)
        tied.save_pretrained(tmp_path)

        assert torch.equal(logits(load_model(str(tmp_path), torch.float32)), logits(tied))

    def test_model_kwargs_are_passed_on(self, directory: str) -> None:
        model: Any = load_model(directory, torch.float32, model_kwargs={"attn_implementation": "eager"})

        assert model.config._attn_implementation == "eager"
        with pytest.raises(InputError, match=r"^model .*attn_implementation"):
            load_model(directory, torch.float32, model_kwargs={"attn_implementation": "no_such"})

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

    def test_is_merged_under_a_second_one(self, adapter: Path) -> None:
        trained = build_policy(str(adapter), torch.float32, PolicyOptions())
        policy = build_policy(str(adapter), torch.float32, PolicyOptions(lora=LoRA(r=2)))

        torch.testing.assert_close(logits(policy), logits(trained), rtol=1e-4, atol=1e-4)
        with policy.disable_adapter():
            torch.testing.assert_close(logits(policy), logits(trained), rtol=1e-4, atol=1e-4)
        assert policy.peft_config["default"].r == 2
        assert not policy.peft_config["default"].base_model_name_or_path

    def test_whose_base_nobody_has_is_refused(self, adapter: Path) -> None:
        settings = json.loads((adapter / "adapter_config.json").read_text())
        settings["init_lora_weights"] = "pissa_niter_4"
        (adapter / "adapter_config.json").write_text(json.dumps(settings))
        with pytest.raises(InputError, match="init_lora_weights='pissa_niter_4' of the adapter leaves other frozen"):
            load_model(str(adapter), torch.float32)

    @pytest.mark.parametrize("base", [["x"], {"a": 1}, 3])
    def test_whose_base_is_no_name_is_refused(self, adapter: Path, tmp_path: Path, base: Any) -> None:
        settings = json.loads((adapter / "adapter_config.json").read_text())
        (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": base}))
        with pytest.raises(InputError, match="base_model_name_or_path: write the base model's place there"):
            adapter_config(str(tmp_path))

    def test_without_its_base(self, adapter: Path, tmp_path: Path) -> None:
        for base, message in ((None, "has no base_model_name_or_path: write the base"), ("/moved/away", "/moved/away")):
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
            loss = -score(BATCH).logps.mean()
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

        difference = TokenScorer(policy)(BATCH).logps - TokenScorer(original)(BATCH).logps

        assert 0 < difference.abs().mean() < 1
        assert not any(parameter.requires_grad for parameter in policy.parameters())

    def test_unknown_setting_is_one_line(self, large_enough: str) -> None:
        with pytest.raises(InputError, match=r"^quantization_config: ") as caught:
            load_model(large_enough, torch.float32, {"load_in_4bit": "yes"})
        assert "\n" not in str(caught.value)
