"""Where a tokenizer lets a text be cut, found in its rules."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from dpo_lightning.data.tokenize.cuts import Cuts, cuts_of
from tests.helpers.tokenizers import merging, sentencepiece, words

SPACED = Cuts(frozenset(".x"), frozenset(), drops_space=False)
DROPPING = Cuts(frozenset(".x"), frozenset("<"), drops_space=True)


def rules(tokenizer: Tokenizer) -> dict[str, object]:
    return json.loads(tokenizer.to_str())


@pytest.mark.parametrize(
    ("prompt", "completion", "tail"),
    [
        ("x. x", " go", ""),
        ("x. x", "go", " x"),
        ("x. y", " go", " y"),
        ("x. xy \n", "go", " xy \n"),
        ("x.  y", "go", "  y"),
        ("x. ", "go", "x. "),  # nothing follows the space
        ("xyz", "go", "xyz"),
        ("", " go", ""),
        ("y", " go", "y"),
        ("x.", " ", "x."),
    ],
)
def test_the_tail_begins_at_the_last_cut(prompt, completion, tail):
    assert SPACED.tail(prompt, completion) == tail
    assert (SPACED.text(" go"), DROPPING.text(" go")) == (" go", "go")


def test_what_must_not_follow_the_space():
    assert DROPPING.tail("x. y <s>", "go") == " y <s>"
    assert DROPPING.tail("x.", " <s>") == "x."


def test_characters_that_pieces_join_with_a_space_are_no_cuts():
    whole = cuts_of(rules(merging().backend_tokenizer))
    assert whole is not None
    joined = {
        piece[place - 1]
        for piece in merging().get_vocab()
        for place in range(1, len(piece))
        if piece[place] == "Ġ" and piece[place - 1] != "Ġ"
    }
    assert joined
    assert not joined & whole.before
    assert "z" in whole.before
    within_words = cuts_of(rules(words().backend_tokenizer))
    assert within_words is not None
    assert joined & {*"abc.:;'"} <= within_words.before


def test_added_tokens_that_hold_or_eat_a_space_are_no_cuts():
    backend = Tokenizer.from_str(words().backend_tokenizer.to_str())
    backend.add_tokens([AddedToken("a b"), AddedToken("c>", rstrip=True), AddedToken("<d", lstrip=True)])
    found = cuts_of(rules(backend))
    assert found is not None
    assert not {"a", ">"} & found.before
    assert {"b", "c", "d"} <= found.before


def bpe(**settings: object) -> models.BPE:
    return models.BPE({"▁": 0, "a": 1}, [], **settings)


@pytest.mark.parametrize(
    ("model", "normalizer", "splitter"),
    [
        pytest.param(bpe(), normalizers.Strip(), pre_tokenizers.ByteLevel(), id="strips"),
        pytest.param(bpe(), normalizers.Prepend("▁"), None, id="prepends a mark and keeps spaces"),
        pytest.param(bpe(), normalizers.Replace(Regex("a +"), "b"), pre_tokenizers.ByteLevel(), id="joins a space"),
        pytest.param(bpe(), None, pre_tokenizers.Split(Regex("a ?"), "isolated"), id="unknown expression"),
        pytest.param(bpe(), None, pre_tokenizers.Split(" ", "merged_with_previous"), id="space with what is before it"),
        pytest.param(
            bpe(),
            None,
            pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.ByteLevel()]),
            id="an expression for spaces where there are marks",
        ),
        pytest.param(bpe(ignore_merges=True), None, None, id="takes whole words, and does not split"),
        pytest.param(bpe(dropout=0.1), None, None, id="random"),
        pytest.param(models.BPE({"a": 0}, []), None, None, id="space unknown, as what is beside it may be"),
        pytest.param(models.Unigram([("a", -1.0), ("▁", -1.0)], 0, False), None, None, id="the best path of all"),
        pytest.param(models.WordLevel({"a": 0}, "a"), None, None, id="one word"),
    ],
)
def test_rules_of_which_that_is_not_known(model, normalizer, splitter):
    backend = Tokenizer(model)
    if normalizer is not None:
        backend.normalizer = normalizer
    if splitter is not None:
        backend.pre_tokenizer = splitter
    assert cuts_of(rules(backend)) is None


def test_every_kind_of_tokenizer_that_language_models_have_is_known():
    assert cuts_of(rules(words().backend_tokenizer)) is not None
    assert cuts_of(rules(sentencepiece().backend_tokenizer)) is not None
