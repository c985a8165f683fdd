"""Text -> token ids: the boundary of the prompt, BOS and EOS."""

from __future__ import annotations

import random

import pytest

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data import Example, ExampleTokenizer
from dpo_lightning.data.tokenize import Outcome
from dpo_lightning.data.tokenize.boundary import Boundary
from dpo_lightning.data.tokenize.encoding import TextEncoder
from dpo_lightning.data.tokenize.rendering import RenderedExample
from dpo_lightning.errors import InputError
from tests.data.tokenize.common import BOS, EOS, TOKENIZERS, A, B, encode, ids, longest, real
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import (
    CHATML,
    CORPUS,
    OTHER_END,
    chat,
    merging,
    sentencepiece,
    turn,
    with_bos,
)
from tests.helpers.writes_tokens import END_INST, INST, WritesTokens

# The boundary


def test_each_part_is_its_own_tokens_where_nothing_merges():
    tokenizer = tiny_tokenizer()
    encoding = encode(tokenizer, "ab:", " cd", " e")
    expected = TokenizedExample.pair(
        0, ids(tokenizer, "ab:"), [*ids(tokenizer, " cd"), EOS], [*ids(tokenizer, " e"), EOS]
    )
    assert encoding == (expected, 0, False, Boundary.CLEAN)
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
            example, outcome, *_ = encode(tokenizer, prompt, completion, completion + " or not")
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


@pytest.mark.parametrize(
    ("eos", "text", "templated", "other"),
    [("auto", [EOS], [], "<|end|>"), ("never", [], [], ""), ("always", [EOS], [EOS], "<|end|>")],
)
def test_where_an_eos_ends_a_completion(eos, text, templated, other):
    tokenizer = chat(OTHER_END)
    encode_pair = ExampleTokenizer(tokenizer, 100, eos=eos)
    assert encode_pair(Example.pair("q", "a", "b")).example.completion_ids[0] == [*ids(tokenizer, "a"), *text]
    answers = [turn("assistant", "a")], [turn("assistant", "b")]
    end = [*ids(tokenizer, f"{other}\n" if other else ""), *templated]
    assert encode_pair(Example.pair([turn("user", "q")], *answers)).example.completion_ids[0] == [
        *ids(tokenizer, "a"),
        *end,
    ]


@pytest.mark.parametrize("eos", ["auto", "always"])
def test_no_template_that_ends_with_the_eos_gets_another(eos):
    tokenizer = chat(CHATML)
    pair = Example.pair([turn("user", "q")], [turn("assistant", "a")], [turn("assistant", "b")])
    assert ExampleTokenizer(tokenizer, 100, eos=eos)(pair).example.completion_ids[0] == ids(tokenizer, "a</s>\n")


def test_a_tokenizer_that_writes_tokens():
    """As mistral-common's: no text is read again, and what spells a control token is text."""
    encode_pair, letters = ExampleTokenizer(WritesTokens(), 100, scored="completion"), WritesTokens().get_vocab()
    assert encode_pair.quote("a</s>") == "a</s>"
    ask, answers = [turn("user", "q")], ([turn("assistant", "a")], [turn("assistant", "b"), turn("user", "c")])
    encoded = encode_pair(Example.pair(ask, answers[0], [*answers[1], turn("assistant", "d")]))
    q, a, b, c, d = (letters[each] for each in "qabcd")
    assert encoded.example.prompt_ids == [BOS, INST, q, END_INST]
    assert encoded.example.completion_ids == [[a, EOS], [b, EOS, INST, c, END_INST, d, EOS]]
    assert encoded.boundary is Boundary.CLEAN
    with pytest.raises(InputError, match=r"in which turns are not found: set data\.scored to `completion`"):
        ExampleTokenizer(WritesTokens(), 100)(Example.pair(ask, answers[0], [*answers[1], turn("assistant", "d")]))
    begun = encode_pair(Example.pair([*ask, turn("assistant", "a")], "b", "c"))
    assert begun.example.prompt_ids == [BOS, INST, q, END_INST, a]
    assert begun.example.completion_ids == [[b, EOS], [c, EOS]]
    text = encode_pair(Example.pair("q", "a", "b"))
    assert (text.example.prompt_ids, text.example.completion_ids[0]) == ([BOS, q], [a, EOS])


def test_a_token_across_the_boundary_is_noted():
    assert encode(merging(), "The quick brown fox jum", "ps over", " no").boundary is Boundary.MERGED
    assert encode(tiny_tokenizer(), "a", "b", "c").boundary is Boundary.CLEAN


def test_no_character_stands_behind_the_tokens_that_there_are():
    tokenizer = tiny_tokenizer()
    rendered = RenderedExample(0, Example("ab:", ("cdefgh",)), "ab:", ["cdefgh"], templated=False)
    encoder = TextEncoder(tokenizer)
    (whole,) = encoder.encode([rendered])
    cut = whole._replace(completions=[whole.completions[0][:3]])
    assert encoder.places(rendered, whole, 0, [2, 5]) == [(2, 2), (5, 5)]
    assert encoder.places(rendered, cut, 0, [2, 5]) == [(2, 2), (3, 3)]
