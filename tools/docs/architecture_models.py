"""Tiny random models of many architectures."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

VOCAB_SIZE = 64
_LLAMA_LIKE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
_GPT_LIKE = {"vocab_size": VOCAB_SIZE, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_SPECIAL_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

_SETTINGS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA_LIKE,
    "llama4_text": {**_LLAMA_LIKE, "num_local_experts": 2, "head_dim": 8, "intermediate_size_mlp": 32},
    "mistral": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "qwen3": {**_LLAMA_LIKE, "head_dim": 8},
    "gemma2": {**_LLAMA_LIKE, "head_dim": 8},
    "gemma3_text": {**_LLAMA_LIKE, "head_dim": 8},
    "granite": {**_LLAMA_LIKE, "logits_scaling": 6.0},
    "cohere": _LLAMA_LIKE,
    "cohere2": _LLAMA_LIKE,
    "olmo2": _LLAMA_LIKE,
    "phi": _LLAMA_LIKE,
    "gpt_neox": _LLAMA_LIKE,
    "gpt_oss": {**_LLAMA_LIKE, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8},
    "opt": {**_LLAMA_LIKE, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 64},
    "bloom": {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "mpt": {"vocab_size": VOCAB_SIZE, "d_model": 32, "n_layers": 2, "n_heads": 4},
    "gpt2": _GPT_LIKE,
    "gptj": {**_GPT_LIKE, "rotary_dim": 8},
    "mamba": {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "num_hidden_layers": 2},
    "recurrent_gemma": {**_LLAMA_LIKE, "num_hidden_layers": 3, "lru_width": 32},
    "qwen3_next": {**_LLAMA_LIKE, "layer_types": ["linear_attention", "full_attention"]},
}
ARCHITECTURES = tuple(_SETTINGS)

_MAMBA_LAYER = {"mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_chunk_size": 8}
_EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 4}
_LATENT_ATTENTION = {
    "num_key_value_heads": 4,
    "q_lora_rank": 12,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 2,
}
_MORE_SETTINGS: dict[str, dict[str, Any]] = {
    "mixtral": {**_LLAMA_LIKE, **_EXPERTS},
    "qwen3_moe": {**_LLAMA_LIKE, **_EXPERTS, "head_dim": 8, "moe_intermediate_size": 16},
    "gemma": {**_LLAMA_LIKE, "head_dim": 8},
    "phi3": _LLAMA_LIKE,
    "olmo": _LLAMA_LIKE,
    "olmo3": _LLAMA_LIKE,
    "gpt_neo": {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 64,
    },
    "gpt_bigcode": _GPT_LIKE,
    "stablelm": _LLAMA_LIKE,
    "starcoder2": _LLAMA_LIKE,
    "smollm3": _LLAMA_LIKE,
    "granitemoe": {**_LLAMA_LIKE, **_EXPERTS, "logits_scaling": 6.0},
    "glm": {**_LLAMA_LIKE, "head_dim": 8},
    "glm4": {**_LLAMA_LIKE, "head_dim": 8},
    "nemotron": {**_LLAMA_LIKE, "head_dim": 8},
    "exaone4": _LLAMA_LIKE,
    "ernie4_5": {**_LLAMA_LIKE, "head_dim": 8},
    "helium": {**_LLAMA_LIKE, "head_dim": 8},
    "hunyuan_v1_dense": {**_LLAMA_LIKE, "head_dim": 8},
    "deepseek_v2": {**_LLAMA_LIKE, **_LATENT_ATTENTION},
    "deepseek_v3": {**_LLAMA_LIKE, **_LATENT_ATTENTION},
    "mamba2": {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 8,
        "head_dim": 8,
        "state_size": 8,
        "n_groups": 1,
        "chunk_size": 8,
    },
    "qwen3_5_text": {
        **_LLAMA_LIKE,
        "head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "lfm2": {**_LLAMA_LIKE, "layer_types": ["conv", "full_attention"]},
    "bamba": {**_LLAMA_LIKE, **_MAMBA_LAYER, "attn_layer_indices": [1]},
    "jamba": {
        **_LLAMA_LIKE,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
        "num_experts": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
    },
    "granitemoehybrid": {**_LLAMA_LIKE, **_MAMBA_LAYER, **_EXPERTS, "shared_intermediate_size": 16},
    "falcon_h1": {**_LLAMA_LIKE, **_MAMBA_LAYER, "mamba_d_ssm": 64},
}


def tiny_config(name: str, **overrides: Any) -> PretrainedConfig:
    """Make the config of a random model with a vocabulary of `VOCAB_SIZE`."""
    settings = _SETTINGS.get(name) or _MORE_SETTINGS[name]
    return AutoConfig.for_model(name, **{**_SPECIAL_TOKENS, **settings, **overrides})


def tiny_model(name: str, **overrides: Any) -> PreTrainedModel:
    """Make a random model in eval mode, as `from_pretrained` does, with weights so large that mistakes show."""
    torch.manual_seed(0)
    return randomised(AutoModelForCausalLM.from_config(tiny_config(name, **overrides)))


def randomised(model: PreTrainedModel) -> PreTrainedModel:
    """Draw matrices and biases anew: initial biases are zero, and initial logits nearly so."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 or name.endswith("bias"):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
