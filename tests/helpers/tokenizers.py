"""Small tokenizers of every kind, and chat templates, that tests of the data share."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.helpers.tiny import tiny_tokenizer

CORPUS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps; the fox does not.\n\n",
    "\n\nHuman: What is two and two?\n\nAssistant: Two and two are four.",
    "Question: how many legs has a spider? Answer: eight legs, as every spider has.\n",
    "  if x == 1:\n    return {x}\n\treturn naïve – “quoted”\n",
]


def with_bos(tokenizer: PreTrainedTokenizerFast, *opening: str) -> PreTrainedTokenizerFast:
    """The tokenizer, putting these tokens in front of every text."""
    vocab = tokenizer.get_vocab()
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    opening = opening or ("<s>",)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{' '.join(opening)} $A", special_tokens=[(token, vocab[token]) for token in opening]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **tokenizer.special_tokens_map)


def _trained(backend: Tokenizer, alphabet: list[str]) -> PreTrainedTokenizerFast:
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


@cache
def merging() -> PreTrainedTokenizerFast:
    """Byte-level BPE that merges anything, also across words: like GPT-2 it has a BOS and does not add it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return _trained(backend, pre_tokenizers.ByteLevel.alphabet())


@cache
def words() -> PreTrainedTokenizerFast:
    """Byte-level BPE within words."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return _trained(backend, pre_tokenizers.ByteLevel.alphabet())


@cache
def prefixing() -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts a space before every text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    return _trained(backend, pre_tokenizers.ByteLevel.alphabet())


@cache
def sentencepiece() -> PreTrainedTokenizerFast:
    """Like Llama's: a space marker before every text, bytes for what is unknown, and a BOS."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return with_bos(_trained(backend, [f"<0x{byte:02X}>" for byte in range(256)]))


CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Opens the answer's turn only with the answer.
NO_GENERATION_PROMPT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
# Ends with ordinary text.
OPEN_ENDED = (
    "<s>{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
# Ends with a special token that is not the EOS.
OTHER_END = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Opens a block of thoughts for an answer to come, unless told not to; an answer without thoughts has none.
THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking is not defined or enable_thinking %}T:{% endif %}"
    "{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "no generation prompt": NO_GENERATION_PROMPT,
    "open ended": OPEN_ENDED,
    "other end": OTHER_END,
}


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def chat(template: str | None, base: PreTrainedTokenizerFast | None = None) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str((base or tiny_tokenizer()).backend_tokenizer.to_str()),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|end|>", *(f"<|{role}|>" for role in ("system", "user", "assistant"))],
    )
    tokenizer.chat_template = template
    return tokenizer
