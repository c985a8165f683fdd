"""Conversations as their template writes them, and the tokens of that."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from dpo_lightning.data.tokenize import Outcome
from dpo_lightning.errors import InputError
from tests.data.tokenize.common import BOS, EOS, encode, ids
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import (
    CHATML,
    OPEN_ENDED,
    OTHER_END,
    TEMPLATES,
    chat,
    merging,
    turn,
    with_bos,
    words,
)

# Says how many messages there are, so that an answer changes what stands before it.
CHANGING = "{{ messages|length }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"


PROMPT = [turn("system", "be brief"), turn("user", "hi"), turn("assistant", "yes?"), turn("user", "two and two?")]
CHOSEN, REJECTED = (
    [turn("assistant", "four")],
    [turn("assistant", "five\n"), turn("user", "no"), turn("assistant", "x")],
)


def conversation(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], **options: Any) -> list[int]:
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)


@pytest.mark.parametrize(
    "base", [tiny_tokenizer, words, lambda: with_bos(tiny_tokenizer())], ids=["tiny", "bpe", "bos"]
)
@pytest.mark.parametrize("name", TEMPLATES)
def test_prompt_and_answer_are_the_whole_conversation_as_the_template_writes_it(name, base):
    tokenizer = chat(TEMPLATES[name], base())
    encoding = encode(tokenizer, PROMPT, CHOSEN, REJECTED)
    assert encoding.example.prompt_ids == conversation(tokenizer, PROMPT, add_generation_prompt=True)
    for reply, reply_ids in (
        (CHOSEN, encoding.example.completion_ids[0]),
        (REJECTED, encoding.example.completion_ids[1]),
    ):
        whole = conversation(tokenizer, PROMPT + reply)
        end = [EOS] if name == "open ended" else []
        assert encoding.example.prompt_ids + reply_ids == whole + end
    assert encoding.outcome == Outcome.KEPT


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("chatml", "four</s>\n"),
        ("no generation prompt", "<|assistant|>four</s>"),
        ("open ended", " four\n</s>"),
        ("other end", "four<|end|>\n"),
    ],
)
def test_the_answer_of_each_template(name, answer):
    tokenizer = chat(TEMPLATES[name])
    assert encode(tokenizer, PROMPT, CHOSEN, REJECTED).example.completion_ids[0] == ids(tokenizer, answer)


def test_a_merge_across_the_boundary_of_a_template():
    tokenizer = chat("{% for m in messages %}{{ m.content }}{% endfor %}", merging())
    prompt, answer = "The quick brown fox jum", "ps over the lazy dog."
    encoding = encode(tokenizer, [turn("user", prompt)], [turn("assistant", answer)], [turn("assistant", "x")])
    assert (
        conversation(tokenizer, [turn("user", prompt + answer)])[: len(encoding.example.prompt_ids)]
        != encoding.example.prompt_ids
    )
    assert encoding.example.prompt_ids == ids(tokenizer, prompt)
    assert (
        tokenizer.decode(encoding.example.prompt_ids + encoding.example.completion_ids[0]) == prompt + answer + "</s>"
    )


def test_a_special_token_that_only_the_vocabulary_knows_closes_a_turn():
    from tokenizers import AddedToken

    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<|end|>", special=True)])
    tokenizer.chat_template = OTHER_END
    assert tokenizer.convert_tokens_to_ids("<|end|>") not in tokenizer.all_special_ids, "the premise"
    assert EOS not in encode(tokenizer, PROMPT, CHOSEN, REJECTED).example.completion_ids[0]


def test_a_template_that_rewrites_an_answered_prompt_is_refused():
    with pytest.raises(InputError, match="writes a prompt differently once it is answered"):
        encode(chat(CHANGING), PROMPT, CHOSEN, REJECTED)


def test_messages_without_a_chat_template_are_refused():
    with pytest.raises(InputError, match=r"no chat template: give one in `data.chat_template`"):
        encode(chat(None), PROMPT, CHOSEN, REJECTED)


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no system role') }}", "{% for %}", "{{ messages[9].role.x }}"]
)
def test_a_template_that_fails_is_an_input_error(template):
    with pytest.raises(InputError, match="the chat template does not take these messages"):
        encode(chat(template), PROMPT, CHOSEN, REJECTED)


def test_blank_answers_are_empty_also_where_the_template_writes_something():
    blank = [turn("assistant", " \n")]
    assert encode(chat(CHATML), PROMPT, blank, REJECTED).outcome == Outcome.EMPTY_COMPLETION
    assert encode(chat(CHATML), PROMPT, CHOSEN, CHOSEN).outcome == Outcome.IDENTICAL


def test_a_long_conversation_keeps_the_bos_of_its_template():
    tokenizer = chat(OPEN_ENDED)
    encoding = encode(tokenizer, PROMPT, CHOSEN, REJECTED, max_prompt_length=6)
    whole = conversation(tokenizer, PROMPT, add_generation_prompt=True)
    assert encoding.example.prompt_ids == [BOS, *whole[-5:]]
