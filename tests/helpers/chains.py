"""A Llama that is a Markov chain: what comes next depends on the last token alone, by chances that a test gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tests.helpers.tiny import VOCAB_SIZE, tiny_llama, tiny_tokenizer


def chain(chances: Mapping[str, Mapping[str, float]]) -> PreTrainedModel:
    """A model whose next character has these chances, by the last one; `</s>` ends.

    Attention and MLP add nothing, and embeddings are unit vectors: behind the norm a token is its own one, times the
    root of their number, and the head's row of the next token has the logarithm of its chance.
    """
    model = tiny_llama(hidden_size=VOCAB_SIZE, tie_word_embeddings=False)
    ids = tiny_tokenizer().get_vocab()
    logits = torch.full((VOCAB_SIZE, VOCAB_SIZE), -1e4)
    for last, following in chances.items():
        for character, chance in following.items():
            logits[ids[character], ids[last]] = torch.tensor(chance).log()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(VOCAB_SIZE))
        model.lm_head.weight.copy_(logits / VOCAB_SIZE**0.5)
    return model


def saved_chain(directory: Path, chances: Mapping[str, Mapping[str, float]], template: str | None = None) -> str:
    """The model with its tokenizer, as a Hugging Face directory."""
    chain(chances).save_pretrained(directory)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(directory)
    return str(directory)
