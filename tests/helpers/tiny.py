"""Tiny models, tokenizers and pairs that every test shares; nothing is downloaded."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from dpo_lightning.batch import TokenizedExample

VOCAB_SIZE = 64

PAIRS = [
    TokenizedExample.pair(0, [1, 5, 6, 7], [8, 9, 10, 2], [11, 12, 2]),
    TokenizedExample.pair(1, [1, 13], [14, 2], [15, 16, 17, 18, 2]),
    TokenizedExample.pair(2, [1, 19, 20, 21, 22, 23], [24, 25, 26, 2], [27, 2]),
]


def labelled_of(pair: TokenizedExample) -> TokenizedExample:
    """The chosen completion of a pair with a label, beside the rejected one as that of another prompt."""
    chosen, other = pair.completion_ids
    return TokenizedExample.labelled(pair.row, pair.prompt_ids, chosen, pair.row > 0, other)


def tiny_llama(seed: int = 0, **overrides: object) -> PreTrainedModel:
    """A random two-layer Llama with weights large enough that mistakes show."""
    settings = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
        "initializer_range": 0.2,
    }
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **{**settings, **overrides}))


def tiny_tokenizer(**overrides: object) -> PreTrainedTokenizerFast:
    """One token a character: letters, a few marks, and the line break; it adds no BOS by itself."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for character in "abcdefghijklmnopqrstuvwxyz .,!?:\nABCDEFGHIJKLMNOPQRST'<>|{}":
        vocab.setdefault(character, len(vocab))
    tokenizer = Tokenizer(models.WordLevel({c: i for c, i in vocab.items() if i < VOCAB_SIZE}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    settings = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", **overrides}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings)
