"""Texts of sampled tokens: behind their prompt they are the text of all tokens."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from dpo_lightning.policy.decoding import completion_texts
from tests.helpers.tiny import tiny_tokenizer


def sentencepiece() -> PreTrainedTokenizerFast:
    """A tokenizer whose decoder leaves out the first space, as that of Llama 2 does."""
    vocab = {each: number for number, each in enumerate(["<unk>", "<s>", "</s>", *"▁abcdefghijklmnopqrstuvwxyz"])}
    tokenizer = Tokenizer(models.BPE({**vocab, "▁a": len(vocab)}, [("▁", "a")], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def test_the_first_space_of_a_completion_stays() -> None:
    tokenizer = sentencepiece()
    prompt = "the dog saw"
    whole = tokenizer(prompt + " a cat")["input_ids"]
    completion = whole[len(tokenizer(prompt)["input_ids"]) :]
    assert tokenizer.decode(completion) == "a cat"  # what would be lost
    assert completion_texts(tokenizer, [[*completion, 2], completion[1:], []]) == [" a cat", " cat", ""]


def test_each_character_stays_and_special_tokens_go() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer(" a , b .\n")["input_ids"]
    assert completion_texts(tokenizer, [[1, *ids, 2], ids[1:]]) == [" a , b .\n", "a , b .\n"]
