"""The tokenizer of the lab's world."""

from __future__ import annotations

import random

from dpo_lightning.lab.pairs import draw_pairs, split_scenes
from dpo_lightning.lab.tokenizer import build_tokenizer, vocabulary


def test_every_text_survives_the_tokenizer():
    tokenizer = build_tokenizer()
    rows = draw_pairs(split_scenes(0)[0], 1000, random.Random(3))
    texts = [row["prompt"] + more for row in rows for more in ("", row["chosen"], row["rejected"])]

    encoded = tokenizer(texts)["input_ids"]

    assert len(encoded) == 3000
    assert all(ids[0] == tokenizer.bos_token_id for ids in encoded)
    assert all(tokenizer.unk_token_id not in ids for ids in encoded)
    assert tokenizer.batch_decode(encoded, skip_special_tokens=True) == texts


def test_a_token_is_a_word_with_the_space_before_it():
    tokenizer = build_tokenizer()
    text = "Ada met a hungry owl by the river."

    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])

    assert tokens == ["<s>", "Ada", " met", " a", " hungry", " owl", " by", " the", " river", "."]


def test_the_vocabulary_is_sorted_and_has_each_word_once():
    words = vocabulary()

    assert words == sorted(set(words))
    assert {"Ada", " Ada", " hedgehog", "."} <= set(words)
    assert build_tokenizer().convert_ids_to_tokens(range(4)) == ["<unk>", "<s>", "</s>", words[0]]
    assert len(build_tokenizer()) == len(words) + 3
