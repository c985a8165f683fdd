"""A word-level tokenizer of the lab's world, built offline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dpo_lightning.lab.reward import prompts, sentences

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_WORD = r" ?[^\s.]+|\."  # a word carries the space before it, so that joining the tokens gives the text back
_SPECIAL = ("<unk>", "<s>", "</s>")


def vocabulary() -> list[str]:
    """Return every word of the world, sorted."""
    texts = [*prompts(), *(f" {sentence}" for sentence in sentences())]
    return sorted({word for text in texts for word in re.findall(_WORD, text)})


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: one token a word, BOS before each text; decoding gives the very text back."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    unknown, bos, eos = _SPECIAL
    ids = {token: number for number, token in enumerate([*_SPECIAL, *vocabulary()])}
    backend = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), "isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, ids[bos])])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=unknown,
        bos_token=bos,
        eos_token=eos,
        clean_up_tokenization_spaces=False,
    )
