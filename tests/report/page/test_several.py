"""Runs beside each other."""

from __future__ import annotations

import re

from dpo_lightning.report.page.several import differences, frontier, overlaid, results
from tests.report.page.common import points, run, words


def tuned(accuracy: float, kl: float, **settings: object):
    rows = points(val__rewards__accuracies=[None, accuracy], val__kl=[0.0, kl], val__loss=[0.7, 0.5 / accuracy])
    config = {"model": {"class_path": "PreferenceModule", "init_args": settings}, "ckpt_path": accuracy}
    return run(points=rows, config=config, facts={"objective": {"name": "DPO", "settings": settings}})


RUNS = {"a": tuned(0.8, 1.0, beta=0.1), "b<i>": tuned(0.9, 9.0, beta=0.01)}


def test_the_better_values_are_marked_where_they_compare() -> None:
    source = "".join(results(RUNS))
    assert re.findall(r"title=\"the better one\">([\d.]+)", source) == [
        "0.9"
    ]  # the loss of another beta is another one
    assert "<i>" not in source
    same = {"a": tuned(0.8, 1.0), "b": tuned(0.9, 9.0)}
    assert re.findall(r"title=\"the better one\">([\d.]+)", "".join(results(same))) == ["0.9", "0.5556"]
    assert "the better one" not in "".join(results({"a": tuned(0.8, 1), "b": tuned(0.8, 1)}))


def test_only_settings_that_differ_are_listed() -> None:
    source = words(differences(RUNS))
    assert source == "setting a b<i> model.beta 0.1 0.01"
    assert "configs are the same" in words(differences({"a": tuned(0.8, 1), "b": tuned(0.8, 1)}))
    one = words(differences({**RUNS, "c": run()}))
    assert one.startswith("Without a config.yaml: c")
    assert "model.beta" in one


def test_many_runs_are_listed_by_value() -> None:
    many = {f"r{number}": tuned(0.8, 1.0, beta=0.1 if number else 0.5) for number in range(8)}
    assert words(differences(many)) == (
        "setting value runs model.beta 0.5 r0 model.beta 0.1 r1 , r2 , r3 , r4 , r5 , r6 , r7"
    )


def test_curves_lie_over_each_other() -> None:
    source = "".join(overlaid(RUNS))
    titles = re.findall(r"<figcaption>([^<]+)", source)
    assert [title.strip() for title in titles] == [
        "Loss, held out",
        "Reward accuracy, held out",
        "KL to the reference, held out",
    ]
    assert source.count("2 b&lt;i&gt;</li>") == 3
    assert "None of the runs" in words(overlaid({"a": run(), "b": run()}))


def test_more_runs_than_colours_differ_in_their_lines() -> None:
    many = {f"r{number}": tuned(0.5 + number / 100, 1.0) for number in range(20)}
    figure = "".join(overlaid(many)).partition("</figure>")[0]
    kinds = re.findall(r'class="(line s\d[^"]*)"', figure)
    legend, drawn = kinds[:20], kinds[20:]
    assert legend == drawn
    assert len({*drawn}) == 20
    assert (drawn[0], drawn[8], drawn[16]) == ("line s0", "line s0 dashed", "line s0 dotted")


def test_a_frontier_is_of_accuracy_over_kl_and_of_the_reward_of_samples_where_there_is_one() -> None:
    source = "".join(frontier(RUNS))
    assert "<figcaption>Reward accuracy" in source
    assert "KL to the reference, nats" in source
    rewarded = {
        name: run(
            points=points(val__logratios__chosen=[0.0, -fallen]),
            samples=[{"step": 1, "prompt": "p", "policy": ["x"], "rewards": {"policy": [reward]}}],
        )
        for name, fallen, reward in (("a", 2.0, 1.0), ("b", 20.0, 3.0))
    }
    source = "".join(frontier(rewarded))
    assert "<figcaption>Reward of samples" in source
    assert "has fallen" in source
    assert "needs two runs" in words(frontier({"a": run(), "b": run()}))
