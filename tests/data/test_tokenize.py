"""Triples -> token ids: the prompt's boundary, BOS, EOS, truncation, chat templates."""

from __future__ import annotations

import random
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data import Example, ExampleTokenizer
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.tokenize import Encoded, Outcome
from dpo_lightning.errors import InputError
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import (
    CHATML,
    CORPUS,
    OPEN_ENDED,
    OTHER_END,
    TEMPLATES,
    chat,
    merging,
    prefixing,
    sentencepiece,
    turn,
    with_bos,
    words,
)

BOS, EOS = 1, 2
A, B = (tiny_tokenizer().get_vocab()[letter] for letter in "AB")


def real(shared: Any, name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(shared / name)


TOKENIZERS = {"merging": merging, "words": words, "prefixing": prefixing, "sentencepiece": sentencepiece}


def encode(
    tokenizer: PreTrainedTokenizerBase, prompt: Any, chosen: Any, rejected: Any = " no", **lengths: Any
) -> Encoded:
    return ExampleTokenizer(tokenizer, **{"max_length": 10_000, **lengths})(Example.pair(prompt, chosen, rejected))


def longest(encoding: Encoded) -> int:
    return Lengths.of_examples([encoding.example]).longest.item()


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


# The boundary


def test_each_part_is_its_own_tokens_where_nothing_merges():
    tokenizer = tiny_tokenizer()
    encoding = encode(tokenizer, "ab:", " cd", " e")
    expected = TokenizedExample.pair(
        0, ids(tokenizer, "ab:"), [*ids(tokenizer, " cd"), EOS], [*ids(tokenizer, " e"), EOS]
    )
    assert encoding == (expected, 0, False)
    assert longest(encoding) == 3 + 4


@pytest.mark.parametrize("name", TOKENIZERS)
def test_wherever_a_text_is_cut_the_prompt_keeps_its_tokens_and_the_whole_decodes_to_the_text(name):
    """And where the joint text's tokens begin with the prompt's, the completion's are the rest of them."""
    tokenizer = TOKENIZERS[name]()
    rng = random.Random(0)
    merged = whole = 0
    for text in CORPUS:
        for cut in rng.sample(range(1, len(text)), 25):
            prompt, completion = text[:cut], text[cut:]
            example, outcome, _ = encode(tokenizer, prompt, completion, completion + " or not")
            prompt_ids, (chosen, rejected) = example.prompt_ids, example.completion_ids
            own, joint = ids(tokenizer, prompt), ids(tokenizer, text)
            assert prompt_ids[-len(own) :] == own
            assert tokenizer.decode(own + chosen[:-1]) == tokenizer.decode(joint)
            assert tokenizer.decode(own + rejected[:-1]) == tokenizer.decode(ids(tokenizer, text + " or not"))
            assert outcome == (Outcome.KEPT if completion.strip() else Outcome.EMPTY_COMPLETION)
            if joint[: len(own)] == own:
                whole += 1
                assert chosen == [*joint[len(own) :], EOS]
            else:
                merged += 1
    assert min(merged, whole) > 10, "both must occur for this to show anything"


def test_sentencepiece_puts_no_second_space_after_a_prompt_that_ends_with_one():
    tokenizer = sentencepiece()
    prompt, completion = "Question: how many legs has a spider? Answer: ", "eight legs"
    encoding = encode(tokenizer, prompt, completion)
    assert encoding.example.prompt_ids == [BOS, *ids(tokenizer, prompt)]
    assert (
        tokenizer.decode(encoding.example.prompt_ids[1:] + encoding.example.completion_ids[0][:-1])
        == prompt + completion
    )


@pytest.mark.parametrize("name", ["tokenizers/gpt2", "models/stories260K"])
def test_real_tokenizers_at_every_boundary(shared, name):
    tokenizer = real(shared, name)
    text = CORPUS[1] + CORPUS[3]
    encode_pair = ExampleTokenizer(tokenizer, max_length=10_000)
    for cut in range(1, len(text)):
        encoding = encode_pair(Example.pair(text[:cut], text[cut:], " no"))
        own = ids(tokenizer, text[:cut])
        assert encoding.example.prompt_ids[-len(own) :] == own
        assert tokenizer.decode(own + encoding.example.completion_ids[0][:-1]) == tokenizer.decode(ids(tokenizer, text))


# BOS and EOS


@pytest.mark.parametrize(
    ("tokenizer", "opening"),
    [
        pytest.param(tiny_tokenizer, [], id="has a BOS, does not add it"),
        pytest.param(merging, [], id="like GPT-2"),
        pytest.param(lambda: with_bos(tiny_tokenizer()), [BOS], id="adds its BOS"),
        pytest.param(lambda: with_bos(tiny_tokenizer(bos_token=None), "A", "B"), [A, B], id="opens with two tokens"),
        pytest.param(
            lambda: with_bos(tiny_tokenizer(bos_token="</s>"), "</s>"), [EOS], id="one token for BOS and EOS, as in OPT"
        ),
        pytest.param(lambda: tiny_tokenizer(bos_token=None), [], id="has none"),
    ],
)
def test_a_text_opens_as_the_tokenizer_opens_it(tokenizer, opening):
    tokenizer = tokenizer()
    encoding = encode(tokenizer, "ab", "cd")
    assert encoding.example.prompt_ids == opening + ids(tokenizer, "ab") == tokenizer("ab")["input_ids"]
    assert encoding.example.completion_ids[0] == [*ids(tokenizer, "cd"), EOS]


def test_a_bos_that_the_text_has_is_not_doubled():
    assert encode(with_bos(tiny_tokenizer()), "<s>ab", "c").example.prompt_ids == [BOS, *ids(tiny_tokenizer(), "ab")]


def test_an_eos_that_the_text_has_is_not_doubled():
    tokenizer = tiny_tokenizer()
    encoding = encode(tokenizer, "ab", "cd</s>", "c</s>d")
    assert encoding.example.completion_ids[0] == [*ids(tokenizer, "cd"), EOS]
    assert encoding.example.completion_ids[1] == [*ids(tokenizer, "c"), EOS, *ids(tokenizer, "d"), EOS]


def test_an_empty_prompt_is_the_bos_alone():
    assert encode(with_bos(tiny_tokenizer()), "", "cd").example.prompt_ids == [BOS]


def test_a_tokenizer_without_eos_is_refused():
    with pytest.raises(InputError, match=r"no EOS token: set `eos_token`"):
        ExampleTokenizer(tiny_tokenizer(eos_token=None), 10)


@pytest.mark.parametrize("lengths", [{"max_length": 0}, {"max_length": 5, "max_prompt_length": -1}])
def test_lengths_below_one_are_refused(lengths):
    with pytest.raises(InputError, match=rf"data.{list(lengths)[-1]} must be at least 1"):
        ExampleTokenizer(tiny_tokenizer(), **lengths)


# Truncation


def test_a_prompt_keeps_its_bos_and_its_end():
    encoding = encode(with_bos(tiny_tokenizer()), "abcdef", "gh", "i", max_prompt_length=4)
    assert encoding.example.prompt_ids == [BOS, *ids(tiny_tokenizer(), "def")]
    assert encoding.truncated
    assert encoding.outcome == Outcome.KEPT
    assert encoding.example.completion_ids[0] == [*ids(tiny_tokenizer(), "gh"), EOS], "completions are not touched"


def test_a_prompt_without_bos_keeps_its_end():
    encoding = encode(tiny_tokenizer(), "abcdef", "gh", "i", max_prompt_length=4)
    assert encoding.example.prompt_ids == ids(tiny_tokenizer(), "cdef")


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_too_short_for_what_opens_the_prompt_is_kept_all_the_same(limit):
    encoding = encode(with_bos(tiny_tokenizer(), "<s>", "A"), "abcdef", "gh", "i", max_prompt_length=limit)
    assert encoding.example.prompt_ids == [BOS, A][:limit]


def test_a_prompt_of_exactly_the_limit_is_whole():
    encoding = encode(with_bos(tiny_tokenizer()), "abc", "gh", "i", max_prompt_length=4)
    assert encoding.example.prompt_ids == [BOS, *ids(tiny_tokenizer(), "abc")]
    assert not encoding.truncated


def test_completions_keep_their_start_and_lose_their_eos():
    encoding = encode(tiny_tokenizer(), "abc", "defgh", "ij", max_length=6)
    assert encoding.example.prompt_ids == ids(tiny_tokenizer(), "abc")
    assert encoding.example.completion_ids[0] == ids(tiny_tokenizer(), "def")
    assert encoding.example.completion_ids[1] == [*ids(tiny_tokenizer(), "ij"), EOS]
    assert encoding.truncated
    assert longest(encoding) == 6


def test_a_pair_that_fits_exactly_is_whole():
    encoding = encode(tiny_tokenizer(), "abc", "de", "ij", max_length=6)
    assert encoding.example.completion_ids[0][-1] == EOS
    assert not encoding.truncated


def test_no_truncation_leaves_more_than_the_limits():
    rng = random.Random(0)
    for _ in range(300):
        texts = ["".join(rng.choices("abc xyz", k=rng.randrange(12))) for _ in range(3)]
        lengths = {"max_length": rng.randrange(1, 20), "max_prompt_length": rng.choice([None, rng.randrange(1, 12)])}
        tokenizer = rng.choice([tiny_tokenizer(), with_bos(tiny_tokenizer())])
        whole, cut = encode(tokenizer, *texts), encode(tokenizer, *texts, **lengths)
        prompt_ids = cut.example.prompt_ids
        assert len(prompt_ids) <= (lengths["max_prompt_length"] or 100)
        assert cut.truncated == (cut.example != whole.example)
        for kept, uncut in zip(cut.example.completion_ids, whole.example.completion_ids, strict=True):
            assert kept == uncut[: len(kept)]
            assert not kept or len(prompt_ids) + len(kept) <= lengths["max_length"]


# What becomes of a pair


@pytest.mark.parametrize(
    ("texts", "lengths", "outcome"),
    [
        (("ab", "c", "d"), {}, Outcome.KEPT),
        (("ab", "", "d"), {}, Outcome.EMPTY_COMPLETION),
        (("ab", "c", " \n"), {}, Outcome.EMPTY_COMPLETION),
        (("", "c", "d"), {}, Outcome.EMPTY_PROMPT),
        (("abcdef", "c", "d"), {"max_length": 6}, Outcome.NO_ROOM),
        (("abcdef", "c", "d"), {"max_length": 3}, Outcome.NO_ROOM),
        (("abcdef", "c", "d"), {"max_length": 6, "max_prompt_length": 5}, Outcome.KEPT),
        (("ab", "c", "c"), {}, Outcome.IDENTICAL),
        (("ab", "cde", "cdf"), {"max_length": 4}, Outcome.IDENTICAL),
        (("ab", "cde", "cdf"), {"max_length": 5}, Outcome.KEPT),
        (("ab", "c", "cd"), {"max_length": 3}, Outcome.IDENTICAL),
        # With its EOS the shorter one differs.
        (("ab", "c", "cd"), {"max_length": 4}, Outcome.KEPT),
    ],
)
def test_outcomes(texts, lengths, outcome):
    assert encode(tiny_tokenizer(), *texts, **lengths).outcome == outcome


def test_every_outcome_has_words():
    assert len({outcome.reason for outcome in Outcome}) == len(Outcome)


def test_many_pairs_at_once_are_each_as_alone():
    tokenizer = ExampleTokenizer(sentencepiece(), 30, 12)
    pairs = [Example.pair(a, b, c) for a in CORPUS for b in CORPUS for c in (" x", b)]
    assert tokenizer.encode([tokenizer.render(pair, 0) for pair in pairs]) == [tokenizer(pair) for pair in pairs]


def test_a_long_text_is_not_warned_about_before_it_is_cut(caplog):
    encoding = encode(tiny_tokenizer(model_max_length=5), "a" * 20, "b" * 20, "c", max_length=25)
    assert longest(encoding) == 25
    assert "longer than the specified maximum" not in caplog.text


# Conversations

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
