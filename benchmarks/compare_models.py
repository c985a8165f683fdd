"""Random models of real shapes, saved once for all sides of `compare.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Hidden size, layers, heads, key/value heads, MLP size, vocabulary; embeddings are tied.
MODELS = {
    "tiny": (64, 2, 4, 2, 128, 512),
    "51m": (512, 8, 8, 4, 1376, 50_257),
    "0.5b": (896, 24, 14, 2, 4864, 151_936),
    "1b": (2048, 16, 32, 8, 8192, 128_256),
}


def save_model(name: str, folder: Path, max_length: int) -> dict[str, Any]:
    """Write a Llama with random weights and a fixed seed; returns its config."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    hidden, layers, heads, key_value_heads, inner, vocabulary = MODELS[name]
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))
