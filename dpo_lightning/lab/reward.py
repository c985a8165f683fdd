"""The true reward of the lab's world: a pure function of prompt and completion."""

from __future__ import annotations

import functools
import itertools
import string
from typing import NamedTuple

from dpo_lightning.errors import InputError
from dpo_lightning.lab.world import (
    ACTS,
    CREATURES,
    ENDINGS,
    HEROES,
    MOST_SENTENCES,
    OPENINGS,
    PLACES,
    SCENES,
    Line,
    Scene,
)

_SLOTS = {
    "hero": tuple(HEROES),
    "subject": (*HEROES, *sorted(set(HEROES.values()))),
    "creature": CREATURES,
    "place": PLACES,
}


def true_reward(prompt: str, completion: str) -> float:
    """Score how well a completion treats the creature of its prompt: a sum over its sentences, by their full stops.

    ===  ==============================================================================================
    -1   a fault: no sentence of this world, an act told before, anything after an ending, a sixth sentence
    -1   a contradiction: another hero, pronoun, creature or place than the prompt's
    -1   an unkind act or ending
    0    a neutral act or ending
    +1   a kind act or ending
    +2   a kind act that helps against the need which the prompt names
    ===  ==============================================================================================

    A sentence counts once, by the first row that holds for it. A completion without an ending loses 1 more. The best is
    worth `BEST_REWARD`: four kind acts, one of them against the need, and a kind ending.

    Args:
        prompt: A prompt of this world.
        completion: Any text.

    Raises:
        InputError: for a prompt that is none of this world's.
    """
    scene = prompts().get(prompt.strip())
    if scene is None:
        raise InputError(f"true_reward: not a prompt of the lab's world: {prompt!r}")
    told: set[Line] = set()
    total = 0
    for number, sentence in enumerate(split_sentences(completion)):
        reading = sentences().get(sentence)
        if reading is None or reading.line in told or _has_ended(told) or number >= MOST_SENTENCES:
            total -= 1
        else:
            total += reading.worth(scene)
        if reading is not None:
            told.add(reading.line)
    return float(total if _has_ended(told) else total - 1)


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences, each with its full stop; what stands behind the last one comes without."""
    *whole, rest = text.split(".")
    return [f"{sentence.strip()}." for sentence in whole] + ([rest.strip()] if rest.strip() else [])


class Reading(NamedTuple):
    """A sentence as it is understood: its line, and the words in its slots."""

    line: Line
    slots: dict[str, str]

    def worth(self, scene: Scene) -> int:
        """Return the sentence's worth in a scene, faults aside."""
        meant = {
            "hero": (scene.hero,),
            "subject": (scene.hero, HEROES[scene.hero]),
            "creature": (scene.creature,),
            "place": (scene.place,),
        }
        if any(said not in meant[slot] for slot, said in self.slots.items()):
            return -1
        return self.line.value + (self.line.need == scene.need)


def _best(scene: Scene) -> int:
    """Return the largest reward: the best acts, each told once, as many as fit before the best ending."""
    acts = sorted((Reading(act, {}).worth(scene) for act in ACTS), reverse=True)
    return sum(acts[: MOST_SENTENCES - 1]) + max(Reading(ending, {}).worth(scene) for ending in ENDINGS)


BEST_REWARD = _best(SCENES[0])
"""Largest reward of a completion, the same for every prompt."""


@functools.cache
def prompts() -> dict[str, Scene]:
    """Return every prompt of the world, about 8,000, with its scene."""
    return {scene.prompt(opening): scene for scene in SCENES for opening in range(len(OPENINGS))}


@functools.cache
def sentences() -> dict[str, Reading]:
    """Return every sentence of the world, about 2,000, as it is understood."""
    readings = {}
    for line in (*ACTS, *ENDINGS):
        names = [name for _, name, _, _ in string.Formatter().parse(line.text) if name]
        for values in itertools.product(*(_SLOTS[name] for name in names)):
            slots = dict(zip(names, values, strict=True))
            readings[line.text.format(**slots)] = Reading(line, slots)
    return readings


def _has_ended(told: set[Line]) -> bool:
    return not told.isdisjoint(ENDINGS)
