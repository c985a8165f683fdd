"""Prompts that end with the beginning of an answer: pivotal tokens, and longer answers."""

from __future__ import annotations

import pytest

from dpo_lightning import RowFormat
from dpo_lightning.data import Example, ExampleTokenizer
from dpo_lightning.data.tokenize import Outcome
from dpo_lightning.data.tokenize.prefill import continues, joined
from dpo_lightning.errors import InputError
from tests.data.tokenize.common import EOS, encode, ids
from tests.helpers.tokenizers import CHATML, OPEN_ENDED, OTHER_END, chat, turn

BEGUN = [turn("user", "q"), turn("assistant", "The answer is")]


def test_who_continues():
    assert continues(BEGUN)
    assert not continues(BEGUN[:1])
    assert not continues([])


def test_a_completion_becomes_part_of_the_message():
    assert joined(BEGUN, [turn("assistant", " a"), turn("user", "?")]) == [
        BEGUN[0],
        turn("assistant", "The answer is a"),
        turn("user", "?"),
    ]
    assert joined(BEGUN[:1], [turn("assistant", "a")]) == [BEGUN[0], turn("assistant", "a")]


@pytest.mark.parametrize(
    ("last", "completion", "words"),
    [
        ({"tool_calls": [1]}, turn("assistant", "a"), "no text to continue"),
        (
            {"content": "b"},
            {**turn("assistant", "a"), "reasoning_content": "hm"},
            "has a `reasoning_content` of its own",
        ),
    ],
)
def test_what_cannot_be_continued_is_refused(last, completion, words):
    with pytest.raises(InputError, match=words):
        joined([BEGUN[0], {"role": "assistant", **last}], [completion])


@pytest.mark.parametrize(("template", "end"), [(CHATML, "</s>\n"), (OTHER_END, "<|end|>\n"), (OPEN_ENDED, "\n</s>")])
@pytest.mark.parametrize("as_messages", [False, True])
def test_the_beginning_is_the_prompts_and_the_end_of_turn_is_written_as_ever(template, end, as_messages):
    tokenizer = chat(template)
    said = [[turn("assistant", " a")], [turn("assistant", " b")]] if as_messages else [" a", " b"]
    encoded = encode(tokenizer, BEGUN, *said)
    prompt = tokenizer.apply_chat_template(BEGUN, tokenize=False, continue_final_message=True)
    assert prompt.endswith("The answer is")
    assert encoded.example.prompt_ids == ids(tokenizer, prompt)
    assert encoded.example.completion_ids == [ids(tokenizer, f" a{end}"), ids(tokenizer, f" b{end}")]


@pytest.mark.parametrize("template", [CHATML, OTHER_END, OPEN_ENDED])
def test_pairs_of_single_tokens_end_with_them(template):
    tokenizer = chat(template)
    encoded = ExampleTokenizer(tokenizer, 100, eos="never")(Example.pair(BEGUN, "a", "b"))
    assert encoded.example.completion_ids == [ids(tokenizer, "a"), ids(tokenizer, "b")]


def test_a_line_break_is_a_part_of_an_answer_and_nothing_is_none():
    encode_pair = ExampleTokenizer(chat(CHATML), 100, eos="never")
    for prompt in (BEGUN, "The answer is"):
        assert encode_pair(Example.pair(prompt, "\n", ".")).outcome is Outcome.KEPT
        assert encode_pair(Example.pair(prompt, "", ".")).outcome is Outcome.EMPTY_COMPLETION
    assert encode_pair(Example.pair(BEGUN, [turn("assistant", "\n")], ".")).outcome is Outcome.KEPT


def test_a_template_that_trims_keeps_one_text():
    """The white space between the beginning and its end is the completion's."""
    tokenizer = chat("{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}</s>{% endfor %}")
    begun = [BEGUN[0], turn("assistant", "The answer is ")]
    encoded = encode(tokenizer, begun, "a", "b")
    assert encoded.example.prompt_ids == ids(tokenizer, "<|user|>q</s><|assistant|>The answer is")
    assert encoded.example.completion_ids[0] == [*ids(tokenizer, " a"), EOS]


def test_a_row_whose_prompt_ends_with_the_assistant():
    row = {"prompt": BEGUN, "chosen": [turn("assistant", " a")], "rejected": [turn("assistant", " b")]}
    assert RowFormat().parse(row) == Example.pair(BEGUN, row["chosen"], row["rejected"])
