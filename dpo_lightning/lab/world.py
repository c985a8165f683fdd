"""The lab's world: someone meets a creature in need, and a few sentences tell what happens.

A prompt names a hero, the creature's need, the creature and the place. A completion is two to four *acts* and one
*ending*, each a sentence. What a sentence is worth depends on the prompt: see `dpo_lightning.lab.reward`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import NamedTuple

WORLD_VERSION = 2
"""Version: goes up with each change of grammar, weights, reward or columns; older labs are then made anew."""

HEROES = {"Ada": "She", "Ben": "He", "Ida": "She", "Leo": "He", "Mia": "She", "Tom": "He"}
NEEDS = ("hungry", "thirsty", "cold", "lost", "sad", "tired", "hurt")
CREATURES = ("dragon", "fox", "frog", "hedgehog", "owl", "wolf")
PLACES = ("by the river", "in the forest", "near the mill", "on the hill", "under the bridge")
OPENINGS = (
    "{hero} met a {need} {creature} {place}.",
    "One day {hero} found a {need} {creature} {place}.",
    "A {need} {creature} sat {place} when {hero} came along.",
)


class Line(NamedTuple):
    """A sentence with slots: `{subject}` is the hero's name or pronoun, the others are the prompt's.

    `value` is its worth: 1 for kind, -1 for unkind, 0 for neither. `need` is the need that it helps against.
    """

    text: str
    value: int
    need: str | None = None


ACTS = (
    Line("{subject} shared some bread with the {creature}.", 1, "hungry"),
    Line("{subject} brought the {creature} a bowl of water.", 1, "thirsty"),
    Line("{subject} wrapped the {creature} in a warm blanket.", 1, "cold"),
    Line("{subject} showed the {creature} the way home.", 1, "lost"),
    Line("{subject} sang a happy song for the {creature}.", 1, "sad"),
    Line("{subject} made a soft bed for the {creature}.", 1, "tired"),
    Line("{subject} put a bandage on the {creature}.", 1, "hurt"),
    Line("{subject} told the {creature} a funny story.", 1),
    Line("{subject} gently stroked the {creature}.", 1),
    Line("{subject} threw a stone at the {creature}.", -1),
    Line("{subject} laughed at the {creature}.", -1),
    Line("{subject} chased the {creature} with a stick.", -1),
    Line("{subject} called the {creature} ugly.", -1),
    Line("{subject} stole the dinner of the {creature}.", -1),
    Line("{subject} locked the {creature} in a box.", -1),
    Line("{subject} looked at the {creature} for a while.", 0),
    Line("{subject} walked once around the {creature}.", 0),
    Line("{subject} sat down {place}.", 0),
    Line("The wind blew {place}.", 0),
)
ENDINGS = (
    Line("In the end {hero} and the {creature} became good friends.", 1),
    Line("In the end the {creature} smiled at {hero}.", 1),
    Line("In the end {hero} left the {creature} alone.", -1),
    Line("In the end the {creature} ran away from {hero}.", -1),
    Line("Then night fell {place}.", 0),
    Line("Then it was time for {hero} to go home.", 0),
)
MOST_SENTENCES = 5

_ACT_COUNTS = (2, 3, 4)
_KINDNESS = (0.1, 0.5, 0.9)  # of a whole completion, so that most have one tone
_ATTENTION = (0.7, 0.9, 1.0)
_NEUTRAL = 0.2


class Scene(NamedTuple):
    """The slots of a prompt."""

    hero: str
    need: str
    creature: str
    place: str

    def prompt(self, opening: int) -> str:
        """Return the prompt with one of the `OPENINGS`."""
        return OPENINGS[opening].format(**self._asdict())


SCENES = tuple(itertools.starmap(Scene, itertools.product(HEROES, NEEDS, CREATURES, PLACES)))


def fill(line: Line, scene: Scene, subject: str) -> str:
    """Return the line about a scene as a sentence."""
    return line.text.format(subject=subject, **scene._asdict())


def write_completion(scene: Scene, rng: random.Random) -> str:
    """Draw a completion of mixed quality; it begins with a space, as the prompt ends without one.

    A completion draws its kindness (0.1, 0.5 or 0.9) and its attention (0.7, 0.9 or 1.0). One sentence in five is
    neutral; the others are kind with the probability of the kindness, else unkind. With one minus the attention, a
    sentence is about another creature and another place than the prompt's. An act may occur twice.
    """
    kindness, attention = rng.choice(_KINDNESS), rng.choice(_ATTENTION)
    subject, pronoun = scene.hero, HEROES[scene.hero]
    sentences = []
    for _ in range(rng.choice(_ACT_COUNTS)):
        sentences.append(fill(_draw_line(ACTS, kindness, rng), _seen(scene, attention, rng), subject))
        subject = pronoun
    sentences.append(fill(_draw_line(ENDINGS, kindness, rng), _seen(scene, attention, rng), subject))
    return "".join(f" {sentence}" for sentence in sentences)


def _draw_line(lines: Sequence[Line], kindness: float, rng: random.Random) -> Line:
    value = 0 if rng.random() < _NEUTRAL else 1 if rng.random() < kindness else -1
    return rng.choice([line for line in lines if line.value == value])


def _seen(scene: Scene, attention: float, rng: random.Random) -> Scene:
    """Return the scene as a sentence tells it: with too little attention, another creature at another place."""
    if rng.random() < attention:
        return scene
    return scene._replace(
        creature=rng.choice([creature for creature in CREATURES if creature != scene.creature]),
        place=rng.choice([place for place in PLACES if place != scene.place]),
    )
