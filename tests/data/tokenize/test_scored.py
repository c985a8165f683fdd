"""What counts of a completion: turns, marks of the template, weights of messages and spans of characters."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

import pytest
from transformers import AutoTokenizer

from dpo_lightning.data import Example, ExampleTokenizer
from dpo_lightning.errors import InputError
from tests.helpers.tokenizers import CHATML, OPEN_ENDED, chat, merging, prefixing, sentencepiece, turn, words

PROMPT = [turn("system", "be brief"), turn("user", "hi")]
LONG = [turn("assistant", "four"), turn("user", "sure?"), turn("assistant", "yes, four")]
SHORT = [turn("assistant", "five")]
MARKED = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>"
    "{% endgeneration %}{% else %}{{ m.content }}</s>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Like Qwen3's: what the last answer opens with is written of no earlier one.
FORGETFUL = (
    "{% for m in messages %}<|{{ m.role }}|>{% if loop.last and m.role == 'assistant' %}thinks {% endif %}"
    "{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def counted(tokenizer, completion, scored="assistant", prompt=PROMPT, **lengths):
    """The text that counts, piece by piece, and the whole completion."""
    encode = ExampleTokenizer(tokenizer, **{"max_length": 10_000, **lengths}, scored=scored)
    example = encode(Example.pair(prompt, completion, SHORT)).example
    ids, mask = example.completion_ids[0], example.scored_branches[0]
    runs = [
        (counts, [token for token, _ in run]) for counts, run in groupby(zip(ids, mask, strict=True), itemgetter(1))
    ]
    return [tokenizer.decode(run) for counts, run in runs if counts], tokenizer.decode(ids)


@pytest.mark.parametrize(
    "base", [None, merging, words, prefixing, sentencepiece], ids=lambda base: base and base.__name__
)
def test_turns_of_others_do_not_count(base):
    tokenizer = chat(CHATML, base and base())
    own, whole = counted(tokenizer, LONG)
    assert [each.strip() for each in own] == ["four</s>", "yes, four</s>"]
    last, _ = counted(tokenizer, LONG, "last_assistant")
    assert [each.strip() for each in last] == ["yes, four</s>"]
    everything, _ = counted(tokenizer, LONG, "completion")
    assert "".join(everything).replace(" ", "") == whole.replace(" ", "")


def test_a_completion_of_one_turn_counts_whole_and_says_nothing():
    example = ExampleTokenizer(chat(CHATML), 100)(Example.pair(PROMPT, SHORT, [turn("assistant", "six")])).example
    assert example.scored == []


@pytest.mark.parametrize("scored", ["assistant", "last_assistant"])
def test_marks_of_the_template_say_what_is_the_assistants(scored):
    own, _ = counted(chat(MARKED), LONG, scored)
    assert own == (["four</s>", "yes, four</s>"] if scored == "assistant" else ["yes, four</s>"])


def test_the_marks_leave_out_what_the_template_writes_behind_an_answer():
    own, whole = counted(chat(MARKED), [turn("assistant", "four")])
    assert own == ["four</s>"]
    assert whole.endswith("\n")


def test_an_earlier_turn_that_the_template_writes_otherwise_is_found_all_the_same():
    own, whole = counted(chat(FORGETFUL), LONG)
    assert "thinks " in whole
    assert [each.strip() for each in own] == ["four</s>", "thinks yes, four</s>"]


def test_a_template_that_hides_an_earlier_turn_is_refused_with_both_ways_out():
    hides = CHATML.replace("m.content", "(m.content if loop.last or m.role != 'assistant' else 'x')")
    with pytest.raises(InputError, match=r"set data\.scored to `completion`, or give a template"):
        ExampleTokenizer(chat(hides), 100)(Example.pair(PROMPT, LONG, SHORT))


def test_a_plain_template_has_no_token_that_closes_a_turn():
    own, _ = counted(chat(OPEN_ENDED), LONG)
    assert [each.strip() for each in own] == ["four", "yes, four\n</s>"]


@pytest.mark.parametrize(
    ("weights", "scored", "pieces"),
    [
        ([0, None, None], "assistant", ["yes, four</s>"]),
        ([1, None, 0], "assistant", ["four</s>"]),
        ([1, None, None], "last_assistant", ["four</s>", "yes, four</s>"]),
        ([None, 0, True], "assistant", ["four</s>", "yes, four</s>"]),
    ],
)
@pytest.mark.parametrize("field", ["weight", "train", "loss"])
@pytest.mark.parametrize("template", [CHATML, MARKED], ids=["turns", "marks"])
def test_a_message_says_whether_it_counts(template, field, weights, scored, pieces):
    said = [each if w is None else {**each, field: w} for each, w in zip(LONG, weights, strict=True)]
    own, whole = counted(chat(template), said, scored)
    assert [each.strip() for each in own] == pieces
    assert whole == counted(chat(template), LONG, scored)[1]


def test_of_a_whole_completion_the_turns_of_weight_0_are_left_out():
    said = [LONG[0], LONG[1], {**LONG[2], "weight": 0}]
    own, _ = counted(chat(CHATML), said, "completion")
    assert "".join(own).replace("\n", "") == "four</s><|user|>sure?</s><|assistant|>"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([{**LONG[0], "weight": 0.5}, *LONG[1:]], "`weight` of a message: 0.5, and a message counts"),
        ([{**LONG[0], "train": "no"}, *LONG[1:]], "`train` of a message: 'no'"),
        ([LONG[0], {**LONG[1], "weight": 1}, LONG[2]], "a user message has `weight` 1"),
    ],
)
def test_other_weights_are_refused(said, words):
    with pytest.raises(InputError, match=words):
        counted(chat(CHATML), said)


def test_a_choice_among_turns_means_nothing_for_text():
    with pytest.raises(InputError, match=r"data\.scored: `last_assistant` is for rows of messages"):
        ExampleTokenizer(chat(CHATML), 100, scored="last_assistant")(Example.pair("p", "a", "b"))


def test_truncation_cuts_what_counts_and_an_example_without_any_is_dropped():
    said = [{**LONG[0], "weight": 0}, *LONG[1:]]
    tokenizer = chat(CHATML)
    whole = ExampleTokenizer(tokenizer, 1000)(Example.pair(PROMPT, said, SHORT))
    length = len(whole.example.prompt_ids) + 8
    cut = ExampleTokenizer(tokenizer, length)(Example.pair(PROMPT, said, SHORT))
    assert whole.outcome.name == "KEPT"
    assert cut.outcome.name == "NOTHING_COUNTS"


# Spans of characters


@pytest.mark.parametrize("name", ["gpt2", "merging", "sentencepiece"])
def test_a_token_counts_that_has_a_character_of_a_span(shared, name):
    makers = {"merging": merging, "sentencepiece": sentencepiece}
    tokenizer = makers[name]() if name in makers else AutoTokenizer.from_pretrained(shared / "tokenizers/gpt2")
    text = " The unbelievable fox jumps over the lazy dog. Four – naïve."
    encode = ExampleTokenizer(tokenizer, 1000)
    spans = [(start, end) for start in range(0, len(text), 3) for end in range(start + 1, len(text), 4)]
    offsets = tokenizer("Q:" + text, add_special_tokens=False, return_offsets_mapping=True)
    found = [(a - 2, b - 2) for a, b in offsets["offset_mapping"]]
    for start, end in spans:
        example = encode(Example.pair("Q:", text, " x")._replace(spans=[[(start, end)], [(0, 1)]])).example
        mine = list(zip(example.completion_ids[0], example.scored_branches[0], strict=True))[:-1]
        theirs = [a < end and start < b for (a, b) in found][len(found) - len(mine) :]
        assert [counts for _, counts in mine] == theirs, (start, end)


def test_a_span_to_the_end_covers_the_eos_and_one_before_does_not():
    encode = ExampleTokenizer(words(), 1000)
    example = encode(Example.pair("Q:", " lazy dog", " fox")._replace(spans=[[(5, 9)], [(0, 3)]])).example
    chosen, rejected = example.scored_branches
    assert chosen[-1]
    assert chosen.count(True) < len(chosen)
    assert not rejected[-1]


def test_spans_of_a_message_stand_in_what_the_template_writes():
    example = Example.pair(PROMPT, [turn("assistant", "two and four")], SHORT)
    encode = ExampleTokenizer(chat(CHATML), 1000)
    found = encode(example._replace(spans=[[(0, 3)], [(0, 4)]])).example
    text = [
        "".join(chat(CHATML).decode([t]) for t, counts in zip(ids, mask, strict=True) if counts)
        for ids, mask in zip(found.completion_ids, found.scored_branches, strict=True)
    ]
    assert text == ["two", "five</s>\n"]


def test_a_template_that_changes_a_message_has_no_place_for_spans():
    loud = chat(CHATML.replace("m.content", "(m.content|upper if m.role == 'assistant' else m.content)"))
    with pytest.raises(InputError, match="changes the text of a message"):
        ExampleTokenizer(loud, 100)(Example.pair(PROMPT, SHORT, LONG[:1])._replace(spans=[[(0, 1)], [(0, 1)]]))
