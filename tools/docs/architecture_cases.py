"""Causal architectures and what their attention does: the cases of the coverage test and its table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tools.docs.architecture_models import tiny_config

# Windows and chunks shorter than the prompts, so that they bite.
_WINDOW = {"sliding_window": 8}
_ALTERNATING = {**_WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_CHUNKED = {"attention_chunk_size": 8, "no_rope_layer_interval": 2}
_SMALL_QWEN3_NEXT = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}


@dataclass(frozen=True)
class Case:
    """A tiny model, the layout that it must get, and what stands in its row of the table."""

    name: str
    model_type: str
    features: str
    layout: Literal["tree", "padded"] = "tree"
    settings: dict[str, Any] = field(default_factory=dict)

    def model(self) -> PreTrainedModel:
        """Make a random float32 model whose weights are so large that one token more or less in sight shows."""
        torch.manual_seed(0)
        config = tiny_config(self.model_type, **self.settings)
        config._experts_implementation = "eager"  # the grouped GEMM of CPUs has no float64
        model = AutoModelForCausalLM.from_config(config)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = 0.2 * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise if parameter.ndim > 1 or name.endswith("bias") else parameter + noise)
        return model


CASES = [
    Case("Llama", "llama", "grouped queries"),
    Case("Mistral, window", "mistral", "sliding window", settings=_WINDOW),
    Case("Mistral", "mistral", "grouped queries", settings={"sliding_window": None}),
    Case("Mixtral", "mixtral", "MoE"),
    Case("Qwen2", "qwen2", "biases on q, k, v"),
    Case(
        "Qwen2, window", "qwen2", "sliding window on some layers", settings={**_ALTERNATING, "use_sliding_window": True}
    ),
    Case("Qwen3", "qwen3", "norms on q and k"),
    Case("Qwen3-MoE", "qwen3_moe", "norms on q and k, MoE"),
    Case("Gemma", "gemma", "grouped queries"),
    Case(
        "Gemma 2",
        "gemma2",
        "soft-capped scores and logits, sliding window on some layers",
        # transformers before 5.23 takes sdpa by itself, which leaves the cap out.
        settings={
            **_ALTERNATING,
            "attn_logit_softcapping": 0.3,
            "final_logit_softcapping": 2.0,
            "attn_implementation": "eager",
        },
    ),
    Case("Gemma 3, window", "gemma3_text", "sliding window on some layers, RoPE by layer", settings=_ALTERNATING),
    Case(
        "Gemma 3",
        "gemma3_text",
        "sliding window longer than the sequences",
        settings={**_ALTERNATING, "sliding_window": 512},
    ),
    Case("Phi-3", "phi3", "grouped queries"),
    Case("Phi-3, window", "phi3", "sliding window", settings=_WINDOW),
    Case("Phi", "phi", "partial RoPE, head with bias"),
    Case("OLMo", "olmo", "grouped queries"),
    Case("OLMo 2", "olmo2", "norms on q and k"),
    Case("OLMo 3", "olmo3", "sliding window on some layers", settings=_ALTERNATING),
    Case("GPT-2", "gpt2", "learned positions"),
    Case("GPT-NeoX", "gpt_neox", "partial RoPE"),
    Case("GPT-Neo", "gpt_neo", "learned positions, own local attention", "padded", {"window_size": 8}),
    Case("GPT-J", "gptj", "partial RoPE, own attention", "padded", {"rotary_dim": 4}),
    Case("GPT-BigCode", "gpt_bigcode", "learned positions, one key head"),
    Case("OPT", "opt", "learned positions"),
    Case("BLOOM", "bloom", "ALiBi", "padded"),
    Case("MPT", "mpt", "ALiBi", "padded"),
    Case("Falcon", "falcon", "own attention, one key head", "padded"),
    Case("Falcon, ALiBi", "falcon", "ALiBi", "padded", {"alibi": True}),
    Case("StableLM", "stablelm", "partial RoPE"),
    Case("StarCoder2", "starcoder2", "sliding window", settings=_WINDOW),
    Case("SmolLM3", "smollm3", "RoPE on some layers", settings={"no_rope_layer_interval": 2}),
    Case("Granite", "granite", "scaled logits", settings={"logits_scaling": 2.0}),
    Case("Granite-MoE", "granitemoe", "MoE, scaled logits", settings={"logits_scaling": 2.0}),
    Case("Cohere", "cohere", "scaled logits", settings={"logit_scale": 0.5}),
    Case(
        "Cohere 2",
        "cohere2",
        "sliding window and RoPE on some layers, scaled logits",
        settings={**_ALTERNATING, "logit_scale": 0.5},
    ),
    Case("GLM", "glm", "partial RoPE"),
    Case("GLM-4", "glm4", "partial RoPE"),
    Case("Nemotron", "nemotron", "partial RoPE"),
    Case("EXAONE 4", "exaone4", "sliding window and RoPE on some layers", settings=_ALTERNATING),
    Case("ERNIE 4.5", "ernie4_5", "grouped queries"),
    Case("Helium", "helium", "grouped queries"),
    Case("Hunyuan", "hunyuan_v1_dense", "norms on q and k"),
    Case("DeepSeek-V2", "deepseek_v2", "latent attention (MLA), MoE"),
    Case("DeepSeek-V3", "deepseek_v3", "latent attention (MLA), MoE"),
    Case("gpt-oss", "gpt_oss", "sinks, sliding window on some layers, MoE", settings=_ALTERNATING),
    Case(
        "Llama 4",
        "llama4_text",
        "chunks, RoPE on some layers, MoE",
        settings={**_CHUNKED, "attn_temperature_tuning": False},
    ),
    Case(
        "Llama 4, temperature",
        "llama4_text",
        "score scale by place in the row",
        "padded",
        {**_CHUNKED, "floor_scale": 4},
    ),
    Case("Mamba", "mamba", "recurrent", "padded"),
    Case("Mamba 2", "mamba2", "recurrent", "padded"),
    Case("Qwen3-Next", "qwen3_next", "recurrent and full layers, MoE", "padded", _SMALL_QWEN3_NEXT),
    Case("Qwen3.5", "qwen3_5_text", "recurrent and full layers", "padded"),
    Case("LFM2", "lfm2", "convolution and full layers", "padded"),
    Case("Bamba", "bamba", "recurrent and full layers", "padded"),
    Case("Jamba", "jamba", "recurrent and full layers, MoE", "padded"),
    Case(
        "Granite 4 hybrid",
        "granitemoehybrid",
        "recurrent and full layers, MoE",
        "padded",
        {"layer_types": ["mamba", "attention"]},
    ),
    Case(
        "RecurrentGemma",
        "recurrent_gemma",
        "recurrent and window layers, soft-capped logits",
        "padded",
        {"attention_window_size": 8},
    ),
    Case("Falcon-H1", "falcon_h1", "recurrence beside attention in each layer", "padded"),
]
