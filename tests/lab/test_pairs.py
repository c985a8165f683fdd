"""Pairs, texts and tokenizer of the lab's world."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from dpo_lightning.lab.pairs import LABELS, draw_lists, draw_pairs, draw_texts, split_scenes
from dpo_lightning.lab.reward import prompts, sentences, split_sentences, true_reward


def drawn(seed: int, count: int = 300) -> list[dict[str, object]]:
    return draw_pairs(split_scenes(0)[0], count, random.Random(seed))


def test_the_true_reward_labels_the_pairs():
    for row in drawn(0):
        assert tuple(row) == ("prompt", "chosen", "rejected", *LABELS)
        rewards = [true_reward(row["prompt"], row[name]) for name in ("chosen", "rejected")]
        assert rewards == [row["chosen_reward"], row["rejected_reward"]]
        assert rewards[0] > rewards[1]
        odds = row["chosen_probability"] / (1 - row["chosen_probability"])
        assert math.log(odds) == pytest.approx(rewards[0] - rewards[1])


def test_equal_seeds_give_equal_worlds():
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert split_scenes(1) == split_scenes(1)
    assert split_scenes(1) != split_scenes(2)


def test_no_scene_is_trained_on_and_held_out():
    train, held_out = split_scenes(0)
    assert not set(train) & set(held_out)
    assert len(held_out) / (len(train) + len(held_out)) == 0.1
    scenes = {prompts()[row["prompt"]] for row in draw_texts(train, 500, random.Random(0))}
    assert not scenes & set(held_out)


def test_the_starting_text_is_of_mixed_quality():
    rows = draw_texts(split_scenes(0)[0], 2000, random.Random(0))
    rewards = [true_reward(row["prompt"], row["chosen"]) for row in rows]
    assert abs(statistics.fmean(rewards)) < 1
    assert min(rewards) <= -3
    assert max(rewards) >= 5
    assert all(sentence in sentences() for row in rows for sentence in split_sentences(row["chosen"]))


def test_lists_have_the_true_reward_of_each_completion() -> None:
    rows = draw_lists(split_scenes(0)[0], 200, 4, random.Random(0))
    for row in rows:
        assert row["true_rewards"] == [true_reward(row["prompt"], each) for each in row["completions"]]
        assert len(row["completions"]) == 4
        assert len(set(row["true_rewards"])) > 1
    firsts = [row["true_rewards"][0] - row["true_rewards"][-1] for row in rows]
    assert min(firsts) < 0 < max(firsts), "in the order in which they were drawn"
