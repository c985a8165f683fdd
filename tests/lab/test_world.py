"""Scenes and completions of the lab's world."""

from __future__ import annotations

import random
from collections import Counter

from dpo_lightning.lab.reward import sentences, split_sentences
from dpo_lightning.lab.world import ACTS, ENDINGS, HEROES, NEEDS, SCENES, Scene, fill, write_completion

SCENE = Scene("Ada", "hungry", "owl", "by the river")


def test_every_opening_tells_the_scene() -> None:
    assert [SCENE.prompt(opening) for opening in range(3)] == [
        "Ada met a hungry owl by the river.",
        "One day Ada found a hungry owl by the river.",
        "A hungry owl sat by the river when Ada came along.",
    ]


def test_there_is_every_scene_once() -> None:
    assert len(SCENES) == len(set(SCENES)) == 6 * 7 * 6 * 5


def test_there_is_one_act_against_each_need() -> None:
    assert Counter(act.need for act in ACTS if act.need) == dict.fromkeys(NEEDS, 1)
    assert fill(ACTS[0], SCENE, "She") == "She shared some bread with the owl."


def test_a_completion_is_two_to_four_acts_and_an_ending() -> None:
    rng = random.Random(0)
    counts: Counter[int] = Counter()
    for _ in range(200):
        text = write_completion(SCENE, rng)
        assert text.startswith(" ")
        told = [sentences()[sentence] for sentence in split_sentences(text)]
        *acts, ending = told
        assert all(act.line in ACTS for act in acts)
        assert ending.line in ENDINGS
        counts[len(acts)] += 1
        subjects = [act.slots.get("subject") for act in acts]
        assert subjects[0] in ("Ada", None), "the hero by name, and then by pronoun"
        assert set(subjects[1:]) <= {HEROES["Ada"], None}
    assert counts.keys() == {2, 3, 4}


def test_some_sentences_are_about_another_creature_at_another_place() -> None:
    rng = random.Random(0)
    told = [sentences()[sentence] for _ in range(500) for sentence in split_sentences(write_completion(SCENE, rng))]
    creatures = [reading.slots["creature"] for reading in told if "creature" in reading.slots]

    # One minus the attention is 0.3, 0.1 or 0: 0.4 / 3 of the sentences on average.
    assert abs(sum(creature != "owl" for creature in creatures) / len(creatures) - 0.4 / 3) < 0.04
    assert all(reading.slots["hero"] == "Ada" for reading in told if "hero" in reading.slots)
