"""How a run went, in words."""

from __future__ import annotations

from dpo_lightning.report.page.summary import hints, overview, verdict
from tests.report.page.common import pair, points, run, words


def test_a_run_says_what_it_said_itself_and_how_it_stopped() -> None:
    facts = {"status": "failed", "verdict": ["chosen log-ratio -62 nats: it writes rubbish"]}
    assert words(verdict(run(facts=facts))) == "The run failed. chosen log-ratio -62 nats: it writes rubbish"
    assert "it was killed" in words(verdict(run(facts={"status": "running"})))
    assert words(verdict(run(facts={"status": "finished"}))) == ""


def test_without_a_verdict_the_last_values_are_one() -> None:
    rows = points(val__loss=[0.7, 0.5], val__rewards__accuracies=[None, 0.8], val__logratios__chosen=[0, -62.0])
    said = words(verdict(run(points=rows, pairs=[pair(1.0)] * 10)))
    assert (
        said == "held-out pairs: loss 0.5, reward accuracy 0.8 (0.49 to 0.94 at 95%, n = 10), log-ratio of chosen -62"
    )


def test_what_ran_is_told_as_far_as_it_is_known() -> None:
    facts = {
        "model": {"name": "m", "parameters": 2_000_000_000, "trainable": 1_000_000},
        "objective": {"name": "DPO", "settings": {"beta": 0.1}},
        "epoch": 0.5,
        "steps_planned": 10,
        "machine": {"device": "cpu", "ranks": None},
    }
    said = words(overview(run(facts=facts, points=[{"step": 4, "seconds": 75.0}])))
    for part in ("m, 2 B parameters, 1 M of them trained (0.05 %)", "DPO(beta=0.1)", "4 of 10, 0.5 epochs", "1:15"):
        assert part in said
    assert "machine device cpu" in said
    assert words(overview(run())) == "run run"


def test_hints_are_listed_with_their_step() -> None:
    given = [{"step": 9, "name": "stuck", "text": "<b>loss</b>", "severity": "warning"}, {"step": 12, "name": "x"}]
    source = "".join(hints(run(hints=given)))
    assert 'class="warning"' in source
    assert words([source]) == "warning stuck at step 9 <b>loss</b> info x at step 12"
    assert words(hints(run())) == "None was given."
