"""The most wrong pairs and the samples are shown as text, long ones folded."""

from __future__ import annotations

import re

from dpo_lightning.report.page.texts import mean_rewards, samples, worst
from tests.report.page.common import pair, run, words


def test_the_most_wrong_pair_is_first() -> None:
    rows = [
        pair(margin, pair_id=number, prompt=f"p{number}", chosen="<b>", rejected="r\u202e", source="s")
        for number, margin in enumerate((-1.0, -3.0, -2.0))
    ]
    source = "".join(worst(run(worst=rows)))
    assert re.findall(r"row (\d), s: reward margin (-\d)", words([source])) == [("1", "-3"), ("2", "-2"), ("0", "-1")]
    assert "&lt;b&gt;" in source
    assert "\u202e" not in source
    assert "chosen (reward -3, log-ratio -3, tokens 10)" in words([source])


def test_without_validation_there_is_none() -> None:
    assert "no whole validation" in words(worst(run()))
    assert "No samples were taken" in words(samples(run()))


def test_a_row_without_numbers_and_texts_is_shown() -> None:
    assert "row None: reward margin unknown" in words(worst(run(worst=[{}])))


def sample(step: int, prompt: str = "p", **more: object) -> dict[str, object]:
    return {"step": step, "prompt": prompt, "policy": [f"policy {step}"], "reference": ["the base"], **more}


def test_samples_stand_by_prompt_from_first_to_last_with_the_reference_once() -> None:
    source = "".join(samples(run(samples=[sample(20), sample(0), sample(10), sample(0, "other")])))
    said = words([source])
    places = [said.index(part) for part in ("policy at step 0", "1 times between", "policy 10", "policy at step 20")]
    assert places == sorted(places)
    assert said.count("the base") == 2
    assert source.count("<details class='example' open>") == 2


def test_rewards_stand_with_the_samples_and_their_means_are_a_curve() -> None:
    rows = [
        sample(step, prompt, rewards={"policy": [reward + step], "reference": [None]})
        for step in (0, 10)
        for prompt, reward in (("a", 1.0), ("b", 2.0))
    ]
    seen = run(samples=rows)
    assert mean_rewards(seen, "policy") == [(0.0, 1.5), (10.0, 11.5)]
    assert mean_rewards(seen, "reference") == []
    source = "".join(samples(seen))
    assert "Mean reward of the samples" in source
    assert "reward 12" in words([source])


def test_a_long_text_does_not_make_the_page_long() -> None:
    rows = [sample(step, "x" * 1_000_000, policy=["\u202e" * 1_000_000] * 50) for step in range(3)]
    assert len("".join(samples(run(samples=rows)))) < 2_000_000
    many = [sample(0, f"prompt {number}") for number in range(100)]
    assert "76 prompts more" in words(samples(run(samples=many)))


def test_what_is_no_text_is_shown_as_one() -> None:
    said = words(samples(run(samples=[{"policy": [None, 3], "rewards": {"policy": "x"}}])))
    assert "(an empty prompt)" in said
    assert "None 3" in said
