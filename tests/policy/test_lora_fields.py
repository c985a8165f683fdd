"""Each setting of the adapters through a whole run: trained, saved, resumed, loaded and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from dpo_lightning import FrozenCopy, LoRA, PreferenceModule
from dpo_lightning.callbacks import Export
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tests.policy.common import logits
from tests.policy.test_experts import mixture

EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
SETTINGS: dict[str, tuple[bool, dict[str, Any]]] = {
    "experts": (True, {"target_modules": ["q_proj"], "target_parameters": EXPERTS}),
    "excluded": (False, {"exclude_modules": ["q_proj", "layers.0.mlp.up_proj"]}),
    "excluded by a pattern": (False, {"exclude_modules": r".*\.layers\.0\..*"}),
    "tokens": (False, {"target_modules": ["q_proj"], "trainable_token_indices": [5, 6]}),
    "tokens by name": (False, {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [5, 6]}}),
    "tied": (False, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_trained_resumed_loaded_and_exported(tmp_path: Path, name: str) -> None:
    of_experts, settings = SETTINGS[name]
    tied = {"tie_word_embeddings": name == "tied"}
    model = mixture(vocab_size=512, **tied) if of_experts else tiny_llama(**tied)
    base = tmp_path / "base"
    model.save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    reference = {"reference": FrozenCopy()} if name == "tied" else {}
    lora = LoRA(r=2, **settings)

    def fit(steps: int, *callbacks: Any, ckpt_path: Any = None) -> PreferenceModule:
        torch.manual_seed(0)
        run = module(str(base), lr=1e-2, lora=lora, **reference)
        runner = trainer(callbacks=list(callbacks), max_steps=steps, default_root_dir=tmp_path, num_sanity_val_steps=0)
        runner.fit(run, data(tmp_path), ckpt_path=ckpt_path)
        runner.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return run

    out, merged = tmp_path / "out", tmp_path / "merged"
    whole = fit(4, Export(str(out), merged_path=str(merged)))
    expected = logits(whole.policy)
    assert (expected - logits(AutoModelForCausalLM.from_pretrained(base))).abs().max() > 1e-3

    fit(2)
    assert torch.equal(logits(fit(4, ckpt_path=tmp_path / "2.ckpt").policy), expected)
    loaded = PreferenceModule.load_from_checkpoint(tmp_path / "4.ckpt")
    loaded.configure_model()
    torch.testing.assert_close(logits(loaded.policy), expected)
    adapter = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out)
    torch.testing.assert_close(logits(adapter), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(merged)), expected, rtol=1e-4, atol=1e-4)
