"""The true reward, counted by hand."""

from __future__ import annotations

import itertools

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.lab import true_reward
from dpo_lightning.lab.reward import BEST_REWARD
from dpo_lightning.lab.world import ACTS, ENDINGS, NEEDS, SCENES, fill

PROMPT = "Ada met a hungry owl by the river."


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        # kind 1, helps the hungry 2, kind ending 1
        ("Ada gently stroked the owl. She shared some bread with the owl. In the end the owl smiled at Ada.", 4),
        # unkind -1, neutral 0, neutral ending 0
        ("Ada laughed at the owl. The wind blew by the river. Then night fell by the river.", -1),
        # another creature -1, kind 1, another place -1, no ending -1
        ("Ada laughed at the fox. She gently stroked the owl. She sat down on the hill.", -2),
        # told before -1 after kind 1, unkind ending -1
        ("Ada gently stroked the owl. She gently stroked the owl. In the end Ada left the owl alone.", -1),
        # wrong pronoun -1, kind ending 1, after the ending -1
        ("He gently stroked the owl. In the end the owl smiled at Ada. She laughed at the owl.", -1),
        # no sentence of the world -1, no ending -1
        ("Hello there", -2),
        # nothing said: no ending -1
        ("", -1),
    ],
)
def test_by_hand(completion, reward):
    assert true_reward(PROMPT, completion) == reward


def test_it_depends_on_the_prompt():
    bread = "Ada shared some bread with the owl. In the end the owl smiled at Ada."
    assert true_reward(PROMPT, bread) == 3
    assert true_reward(PROMPT.replace("hungry", "lost"), bread) == 2
    assert true_reward(PROMPT.replace("owl", "fox"), bread) == -2


@pytest.mark.parametrize("need", NEEDS)
def test_no_completion_is_worth_more_than_the_best(need):
    """Every choice of three to five acts that are not unkind, with a kind ending."""
    scene = next(scene for scene in SCENES if scene.need == need)
    acts = [fill(act, scene, scene.hero) for act in ACTS if act.value >= 0]
    told = (chosen for count in (3, 4, 5) for chosen in itertools.combinations(acts, count))
    ending = fill(ENDINGS[0], scene, scene.hero)
    assert max(true_reward(scene.prompt(0), " ".join((*chosen, ending))) for chosen in told) == BEST_REWARD == 6


def test_another_prompt_is_refused():
    with pytest.raises(InputError, match="not a prompt of the lab's world"):
        true_reward("Once upon a time", "Ada sat down by the river.")
