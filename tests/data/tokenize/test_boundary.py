"""Prompts as the part that all answered dialogues have in common with them, in words and in tokens."""

from __future__ import annotations

import pytest

from dpo_lightning.data import Example, ExampleTokenizer
from dpo_lightning.data.tokenize.boundary import Boundary, boundary_report, remedy, shared_length
from dpo_lightning.errors import InputError
from tests.data.tokenize.common import encode, ids
from tests.helpers.tokenizers import THINKING, chat, turn

ASK = [turn("user", "q")]


def thinking():
    return chat(THINKING)


def test_the_length_that_sequences_share():
    assert shared_length(["abc", "abd"]) == 2
    assert shared_length([[1], [1, 2]]) == 1
    assert shared_length([[], [1]]) == 0
    assert shared_length(["abcd", "abcx", "ab", "abc"]) == 2
    assert shared_length(["abc"]) == 3


def test_a_block_that_the_answers_do_not_have_is_no_part_of_the_prompt():
    tokenizer = thinking()
    encoded = encode(tokenizer, ASK, [turn("assistant", "yes")], [turn("assistant", "no")])
    assert encoded.boundary is Boundary.SHARED
    assert encoded.example.prompt_ids == ids(tokenizer, "<|user|>q</s><|assistant|>")
    assert encoded.example.completion_ids == [ids(tokenizer, "yes</s>"), ids(tokenizer, "no</s>")]


def test_all_completions_share_one_prompt():
    """The first answer begins with half of the block, the other with none of it."""
    tokenizer = thinking()
    example = Example(ASK, [[turn("assistant", "T:yes")], [turn("assistant", "Tx")], [turn("assistant", "no")]])
    encoded = ExampleTokenizer(tokenizer, 100)(example)
    assert encoded.example.prompt_ids == ids(tokenizer, "<|user|>q</s><|assistant|>")
    assert encoded.example.completion_ids[0] == ids(tokenizer, "T:yes</s>")
    both = encode(tokenizer, ASK, [turn("assistant", "T:yes")], [turn("assistant", "Tx")])
    assert both.example.prompt_ids == ids(tokenizer, "<|user|>q</s><|assistant|>T")
    thought = encode(tokenizer, ASK, [turn("assistant", "T:yes")], [turn("assistant", "T:no")])
    assert thought.boundary is Boundary.CLEAN
    assert thought.example.prompt_ids == ids(tokenizer, "<|user|>q</s><|assistant|>T:")


def test_the_common_part_ends_between_tokens():
    """`<|end|>` and `<|x` have letters in common, and no token."""
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|end|>{% endif %}"
    tokenizer = chat(template)
    encoded = encode(tokenizer, ASK, [turn("assistant", "<|x")], [turn("assistant", "<|y")])
    assert encoded.example.prompt_ids == ids(tokenizer, "q")
    assert encoded.example.completion_ids[0][:-1] == ids(tokenizer, "<|x")


def test_a_conversation_that_is_written_in_another_way_is_refused():
    last_alone = "{% for m in messages %}{{ m.role if loop.last else 'x' }}{{ m.content }}{% endfor %}"
    with pytest.raises(InputError, match="writes a prompt differently once it is answered"):
        encode(chat(last_alone), ASK, [turn("assistant", "a")], [turn("assistant", "b")])


def test_the_argument_that_mends_it_is_found():
    encode_pair = ExampleTokenizer(thinking(), 100)
    pair = Example.pair(ASK, [turn("assistant", "yes")], [turn("assistant", "no")])
    assert encode_pair.remedy(pair) == {"enable_thinking": False}
    mended = ExampleTokenizer(thinking(), 100, template_arguments={"enable_thinking": False})(pair)
    assert mended.boundary is Boundary.CLEAN
    assert mended.example.completion_ids == encode_pair(pair).example.completion_ids
    assert encode_pair.remedy(pair._replace(template_arguments={"enable_thinking": True})) is None, "the row's own"
    assert encode_pair.remedy(Example.pair("q", "a", "b")) is None
    always = chat(THINKING.replace("enable_thinking", "something"))
    assert ExampleTokenizer(always, 100).remedy(pair) is None


def test_a_trial_that_fails_mends_nothing():
    def boundary_with(arguments):
        if "enable_thinking" in arguments:
            raise InputError("the template's own")
        return Boundary.CLEAN

    assert remedy(boundary_with) == {"thinking": False}


def test_the_report_counts_and_says_what_to_set():
    kinds = [Boundary.CLEAN, Boundary.SHARED, Boundary.SHARED, Boundary.MERGED]
    merged, shared = boundary_report(kinds, {"enable_thinking": False})
    assert merged.startswith("1 with a token across the end of the prompt")
    assert shared.startswith("2 whose answers")
    assert shared.endswith(": set data.chat_template_kwargs.enable_thinking=false")
    assert boundary_report([Boundary.CLEAN], None) == []
    (without,) = boundary_report([Boundary.SHARED], None)
    assert without.endswith("no argument of the template is known to mend it")
