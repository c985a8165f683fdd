"""Random models of real shapes, saved once for all sides of `compare.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Hidden size, layers, heads, key/value heads, MLP size, vocabulary.
MODELS = {
    "tiny": (64, 2, 4, 2, 128, 512),
    "51m": (512, 8, 8, 4, 1376, 50_257),
    "0.5b": (896, 24, 14, 2, 4864, 151_936),
    "1b": (2048, 16, 32, 8, 8192, 128_256),
    "8b": (4096, 32, 32, 8, 14336, 128_256),
}
UNTIED = ("8b",)
"""Models whose head has weights of its own."""


def llama_config(name: str, max_length: int) -> Any:
    """The config of a model."""
    from transformers import LlamaConfig

    hidden, layers, heads, key_value_heads, inner, vocabulary = MODELS[name]
    return LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        max_position_embeddings=max_length,
        tie_word_embeddings=name not in UNTIED,
        bos_token_id=0,
        eos_token_id=0,
    )


def save_model(name: str, folder: Path, max_length: int) -> dict[str, Any]:
    """Write a Llama with random weights and a fixed seed; returns its config."""
    import torch
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = llama_config(name, max_length)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def random_model(name: str, max_length: int, device: str, dtype: Any) -> Any:
    """A Llama with random weights that are drawn on the device, the same in each process on one kind of device."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(llama_config(name, max_length), dtype=dtype, attn_implementation="sdpa")


def fuse_by_liger(model: Any, device: str) -> None:
    """Give a model Liger's norms, RoPE and SwiGLU; on a CPU, where they do not run, it stays as it is."""
    if device == "cuda":
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(model=model, fused_linear_cross_entropy=False, cross_entropy=False)


def draw_adapters(model: Any) -> None:
    """Draw the first matrices of new LoRA adapters anew, equal on all sides; the second ones are 0."""
    import torch

    matrices = [weight for name, weight in model.named_parameters() if "lora_A" in name and weight.requires_grad]
    for number, weight in enumerate(matrices):
        generator = torch.Generator(weight.device).manual_seed(number)
        bound = weight.shape[1] ** -0.5
        torch.nn.init.uniform_(weight, -bound, bound, generator=generator)
