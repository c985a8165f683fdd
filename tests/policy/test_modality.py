"""What a model is: multimodal checkpoints are trained on text, and what is not causal is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
    XLMConfig,
    XLMWithLMHeadModel,
)

from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.errors import InputError
from dpo_lightning.policy.loading import load_config, load_model
from dpo_lightning.policy.modality import check_causal, check_plain
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tests.helpers.runs import module
from tests.helpers.tiny import PAIRS, tiny_llama
from tests.policy.test_experts import mixture
from tools.docs.architecture_models import tiny_model

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
TEXT = {**SIZES, "vocab_size": 64, "num_key_value_heads": 2, "head_dim": 8, "eos_token_id": 2, "bos_token_id": 1}
VISION = {**SIZES, "image_size": 28, "patch_size": 14}


def gemma3() -> nn.Module:
    return Gemma3ForConditionalGeneration(Gemma3Config(text_config=TEXT, vision_config=VISION, mm_tokens_per_image=4))


def llava() -> nn.Module:
    config = LlavaConfig(
        text_config=LlamaConfig(**TEXT), vision_config=CLIPVisionConfig(**VISION), image_token_index=63
    )
    return LlavaForConditionalGeneration(config)


ROPE = "rope_parameters" if hasattr(Qwen2VLConfig().get_text_config(), "rope_parameters") else "rope_scaling"


def qwen2_vl() -> nn.Module:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 14}
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config={**TEXT, ROPE: rope}, vision_config=vision))


def bert(kind: Any = BertLMHeadModel, **settings: Any) -> nn.Module:
    return kind(BertConfig(**SIZES, vocab_size=64, **settings))


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4))


def t5() -> nn.Module:
    return T5ForConditionalGeneration(T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4))


MULTIMODAL = [gemma3, llava, qwen2_vl]


def saved(model: Any, path: Path) -> str:
    model.save_pretrained(path)
    return str(path)


@pytest.mark.parametrize("make", MULTIMODAL)
def test_a_multimodal_model_loads_by_name_and_scores_in_both_layouts(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make()
    run = module(saved(model, tmp_path))
    run.configure_model()

    assert type(run.policy) is type(model)
    assert run.tree_problem() is None
    tree, padded = (run.score(collate(PAIRS)).policy_chosen_logps for collate in (collate_tree, collate_padded))
    torch.testing.assert_close(tree, padded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [bert, lambda: bert(BertForMaskedLM)], ids=["BertLMHeadModel", "BertForMaskedLM"])
@pytest.mark.parametrize("by_name", [False, True])
def test_an_encoder_is_refused(make: Any, by_name: bool, tmp_path: Path) -> None:
    model = make()
    with pytest.raises(InputError, match=r"^policy: Bert\w+ is no causal language model: a later token") as caught:
        build_policy(saved(model, tmp_path) if by_name else model, torch.float32, PolicyOptions())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_causal_passes(dtype: torch.dtype) -> None:
    for model in (bert(is_decoder=True), tiny_llama(), gpt2(), mixture(), nn.Linear(2, 2)):
        check_causal(model.to(dtype))


@pytest.mark.parametrize("name", ["granitemoehybrid", "recurrent_gemma"])
def test_a_hybrid_model_passes_and_can_be_copied_after_it(name: str) -> None:
    policy = build_policy(tiny_model(name), torch.float32, PolicyOptions())
    copy.deepcopy(policy)  # as a reference is


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^policy: T5ForConditionalGeneration is an encoder-decoder \(t5\): give a"):
        build_policy(t5(), torch.float32, PolicyOptions())
    name = saved(t5(), tmp_path)
    for load in (load_config, lambda name: load_model(name, torch.float32)):
        with pytest.raises(InputError, match=r"^model '.*' is an encoder-decoder \(t5\)"):
            load(name)


def test_a_model_without_a_causal_class_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')

    with pytest.raises(InputError, match=r"is of the type 'vit', of which transformers has no causal language model$"):
        load_model(str(tmp_path), torch.float32)


def test_a_classifier_by_name_is_refused_where_its_embedding_would_be_a_head(tmp_path: Path) -> None:
    model = GPT2ForSequenceClassification(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4))
    with pytest.raises(InputError, match=r"is a GPT2ForSequenceClassification, which gives classes and no tokens"):
        load_config(saved(model, tmp_path))


def test_an_encoder_that_takes_low_ids_for_padding_is_refused() -> None:
    config = XLMConfig(vocab_size=64, emb_dim=32, n_layers=2, n_heads=2, pad_index=0, pad_token_id=0)
    with pytest.raises(InputError, match="XLMWithLMHeadModel is no causal language model"):
        check_causal(XLMWithLMHeadModel(config))


@pytest.mark.parametrize("kind", [LlamaModel, LlamaForSequenceClassification, LlamaForTokenClassification])
def test_a_model_without_a_language_head_is_refused(kind: Any) -> None:
    model = kind(LlamaConfig(**TEXT, pad_token_id=0))
    with pytest.raises(InputError, match=rf"^policy: the forward of {kind.__name__} with `input_ids` gives no logits"):
        check_causal(model)


def test_a_refusal_says_what_a_model_reads_and_gives() -> None:
    with pytest.raises(InputError, match=r"no logits of the next token \(what it reads are `pixel_values`\)"):
        check_causal(ViTModel(ViTConfig(**VISION)))
    with pytest.raises(InputError, match=r"\(its output, a BaseModelOutputWithPast, has no `logits`\)"):
        check_causal(LlamaModel(LlamaConfig(**TEXT)))


def test_a_model_that_reads_no_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="the forward of ViTModel with `input_ids` gives no logits"):
        check_causal(ViTModel(ViTConfig(**VISION)))


class Answers(nn.Module):
    """A plain module, whose forward returns what it is told to."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.embedding, self.head, self.wrap = nn.Embedding(64, 8), nn.Linear(8, 64), wrap

    def forward(self, input_ids: torch.Tensor) -> Any:
        return self.wrap(self.head(self.embedding(input_ids)))


@pytest.mark.parametrize("make", [lambda: nn.Linear(3, 3), nn.Sequential, lambda: Answers(lambda logits: logits)])
def test_a_plain_module_without_logits_is_refused(make: Any) -> None:
    with pytest.raises(InputError, match="with `input_ids` gives no logits of the next token") as caught:
        module(make()).configure_model()
    assert "\n" not in str(caught.value)


class Late(LlamaForCausalLM):
    """A causal model whose output is shifted by a position, in the shape of its input."""

    def forward(self, **inputs: Any) -> Any:
        logits = super().forward(**inputs).logits
        return SimpleNamespace(logits=torch.cat([logits[:, :1], logits[:, :-1]], 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_that_stand_behind_their_tokens_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=r"^policy: the logits of Late stand behind their tokens"):
        check_causal(Late(tiny_llama().config).to(dtype))
    shifted = Answers(lambda logits: SimpleNamespace(logits=logits.roll(1, 1)))
    with pytest.raises(InputError, match=r"^policy: the logits of Answers stand behind their tokens"):
        check_plain(shifted)


def test_a_plain_module_with_logits_passes() -> None:
    check_plain(Answers(lambda logits: SimpleNamespace(logits=logits)))
    with pytest.raises(InputError, match="is no causal language model"):
        check_plain(Answers(lambda logits: SimpleNamespace(logits=logits + logits.mean(1, keepdim=True))))
