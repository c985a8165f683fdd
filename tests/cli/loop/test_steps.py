"""Which commands a config comes to, with which words."""

from __future__ import annotations

import json

import pytest

from dpo_lightning.cli.loop.settings import read_config
from dpo_lightning.cli.loop.steps import plan
from dpo_lightning.errors import InputError
from tests.cli.loop.a_loop import written


@pytest.fixture
def planned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda **changes: plan(read_config(written(tmp_path, **changes), None))


def test_each_round_goes_on_with_the_model_of_the_one_before(planned):
    first, second, last = planned()
    words = [" ".join(step.words) for step in first.steps]
    assert words == [
        "generate model --config out/round-1/fit.yaml --prompts out/round-1/prompts.jsonl --out "
        "out/round-1/samples.jsonl --samples 4 --max_new_tokens 6 --samples_at_once 8 --seed 0",
        "score out/round-1/samples.jsonl --out out/round-1/scored.jsonl --function rewards.py:reward",
        "pair out/round-1/scored.jsonl --out out/round-1/pairs.jsonl --keep_cut",
        "fit --config out/round-1/fit.yaml --ckpt_path last",
    ]
    assert [step.name for step in second.steps] == ["generate", "score", "kl", "pair", "fit"]
    assert second.steps[0].words[1] == "out/round-1/model"
    assert second.steps[0].words[-2:] == ["--seed", "1"]
    ratio = (
        "--out out/round-2/kl.jsonl --run out/round-1/model --reference model --beta 1 --config out/round-2/fit.yaml"
    )
    assert " ".join(second.steps[2].words).endswith(ratio)
    assert [step.name for step in last.steps] == ["generate", "score", "kl"]
    assert last.steps[0].words[1] == "out/round-2/model"
    assert last.steps[0].words[-1] == "2"


def test_a_round_has_its_prompts_and_the_last_policy_those_of_the_first(planned):
    numbers = [[json.loads(row)["id"] for row in each.prompts] for each in planned()]
    assert numbers == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5]]
    assert [len(each.prompts) for each in planned(rounds__prompts_per_round=None)] == [14, 14, 14]


def test_the_closing_samples_and_the_divergence_may_be_left_out(planned):
    rounds = planned(rounds__last=False, rounds__kl=False)
    assert [[step.name for step in each.steps] for each in rounds] == 2 * [["generate", "score", "pair", "fit"]]


def test_a_seed_is_each_rounds_own(planned):
    assert [each.steps[0].words[-1] for each in planned(generate__seed=40)] == ["40", "41", "42"]


def test_what_decides_on_a_step_is_not_where_it_lies(planned):
    here, there = planned(), planned(rounds__out="moved/to")
    assert [step.made for each in here for step in each.steps] == [step.made for each in there for step in each.steps]
    other = planned(generate__samples=5)
    assert other[0].steps[0].made != here[0].steps[0].made
    assert other[0].steps[1].made == here[0].steps[1].made


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"rounds__prompts_per_round": 8}, "2 rounds of 8 take 16 prompts, and prompts.jsonl has 14: lower it"),
        ({"rounds__prompts": "nowhere.jsonl"}, "rounds.prompts nowhere.jsonl: "),
        ({"generate__seed": "x"}, "generate.seed: a whole number, got 'x'"),
    ],
)
def test_what_cannot_be_planned_is_refused(planned, changes, line):
    with pytest.raises(InputError, match=line):
        planned(**changes)
