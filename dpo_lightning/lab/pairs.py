"""Preference pairs and lists of the lab's world, labelled by its true reward."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from dpo_lightning.lab.reward import true_reward
from dpo_lightning.lab.world import OPENINGS, SCENES, Scene, write_completion

LABELS = ("chosen_reward", "rejected_reward", "chosen_probability")
"""Columns of a pair that say what it is worth, for the objectives that read one."""

_HELD_OUT = 0.1
# The objective SFT reads the chosen completion only; a pair needs another one, and the shortest costs least.
_UNREAD = "."


def split_scenes(seed: int) -> tuple[list[Scene], list[Scene]]:
    """Split all scenes at random into those to train on and the tenth that is held out: no combination is in both."""
    scenes = list(SCENES)
    random.Random(f"split {seed}").shuffle(scenes)
    held_out = round(_HELD_OUT * len(scenes))
    return scenes[held_out:], scenes[:held_out]


def draw_pairs(scenes: Sequence[Scene], count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Draw rows with prompt, chosen, rejected, their true rewards, the chosen one's greater, and its chance.

    The chance of being preferred is Bradley and Terry's: the logistic function of the difference in reward. The labels
    are certain all the same.
    """
    return [_draw_pair(rng.choice(scenes), rng) for _ in range(count)]


def draw_lists(scenes: Sequence[Scene], count: int, completions: int, rng: random.Random) -> list[dict[str, Any]]:
    """Draw rows with prompt, independent completions of it in the order in which they were drawn, and true rewards.

    A list whose rewards are all the same is drawn again.
    """
    rows = []
    for _ in range(count):
        prompt, drawn, rewards = _draw_list(rng.choice(scenes), completions, rng)
        rows.append({"prompt": prompt, "completions": drawn, "true_rewards": rewards})
    return rows


def draw_texts(scenes: Sequence[Scene], count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Draw rows for the objective SFT: the chosen completion is of mixed quality, the rejected one is not read."""
    rows = []
    for _ in range(count):
        scene = rng.choice(scenes)
        prompt = scene.prompt(rng.randrange(len(OPENINGS)))
        rows.append({"prompt": prompt, "chosen": write_completion(scene, rng), "rejected": _UNREAD})
    return rows


def _draw_pair(scene: Scene, rng: random.Random) -> dict[str, Any]:
    prompt, drawn, rewards = _draw_list(scene, 2, rng)
    (chosen_reward, chosen), (rejected_reward, rejected) = sorted(zip(rewards, drawn, strict=True), reverse=True)
    labels = chosen_reward, rejected_reward, 1 / (1 + math.exp(rejected_reward - chosen_reward))
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **dict(zip(LABELS, labels, strict=True))}


def _draw_list(scene: Scene, completions: int, rng: random.Random) -> tuple[str, list[str], list[float]]:
    prompt = scene.prompt(rng.randrange(len(OPENINGS)))
    while True:
        drawn = [write_completion(scene, rng) for _ in range(completions)]
        rewards = [true_reward(prompt, completion) for completion in drawn]
        if len(set(rewards)) > 1:
            return prompt, drawn, rewards
