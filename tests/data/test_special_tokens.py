"""Special tokens of tokenizers with and without a list of added tokens."""

from __future__ import annotations

from tokenizers import AddedToken

from dpo_lightning.data.special_tokens import added_tokens, special_tokens, writes_tokens
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import chat
from tests.helpers.writes_tokens import EOS, INST, WritesTokens


def test_named_ones_and_those_that_only_the_vocabulary_marks():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<|end|>", special=True), AddedToken("<think>", special=False)])
    found = special_tokens(tokenizer)
    assert found == {0: "<unk>", 1: "<s>", 2: "</s>", tokenizer.convert_tokens_to_ids("<|end|>"): "<|end|>"}


def test_a_tokenizer_without_a_list_says_itself_which_are_special():
    assert added_tokens(WritesTokens()) == {}
    assert special_tokens(WritesTokens()).keys() >= {EOS, INST}


def test_who_writes_conversations_as_tokens():
    assert writes_tokens(WritesTokens())
    assert not writes_tokens(chat("{{ messages }}"))
    assert not writes_tokens(chat(None))
    several = chat(None)
    several.chat_template = {"rag": "{{ messages }}"}
    assert not writes_tokens(several)
