"""Curves: which metrics share a chart, and where it is marked."""

from __future__ import annotations

import re

import pytest

from dpo_lightning.report.page.curves import COST, LEARNING, chart, cost, curves, marks_of, parts_of
from tests.report.page.common import points, run, words

KNOWN = ("loss", "rewards/chosen", "chosen", "kl")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("train/loss", ("train", "", "loss")),
        ("val/easy/loss", ("val", "easy", "loss")),
        ("val/rewards/chosen", ("val", "", "rewards/chosen")),
        ("val/a/b/rewards/chosen", ("val", "a/b", "rewards/chosen")),
        ("train/aux_loss", None),
        ("loss", None),
    ],
)
def test_a_name_is_of_a_stage_a_set_and_a_metric(name, parts) -> None:
    assert parts_of(name, KNOWN) == parts


def test_training_is_solid_validation_dashed_in_one_colour_and_sets_have_their_own() -> None:
    rows = points(train__loss=[0.7, 0.6], val__loss=[0.7, 0.5], val__easy__loss=[0.6, 0.3])
    source = chart(LEARNING[0], run(points=rows).metrics)
    assert source is not None
    body = source.partition("viewBox")[2].partition("</ul>")[2]
    assert re.findall(r'class="line (s\d(?: dashed)?)"', body) == ["s0", "s0 dashed", "s1 dashed"]
    assert [*re.findall(r"</svg>([^<]+)</li>", source)] == ["train", "val", "val easy"]


def test_a_chart_needs_a_number() -> None:
    assert chart(LEARNING[0], run(points=points(train__loss=[None, None])).metrics) is None
    assert "No point was logged" in words(curves(run()))
    assert "was logged" in words(cost(run()))


def test_metrics_that_nobody_knows_are_there_folded() -> None:
    rows = points(train__loss=[0.7], train__skipped_steps=[0.0], train__epoch_fraction=[0.5], train__seconds=[3.0])
    source = "".join(curves(run(points=rows)))
    assert "1 other metrics" in source
    assert "train/skipped_steps" in source
    assert "epoch_fraction" not in source
    assert "<details" not in "".join(curves(run(points=points(train__loss=[0.7], train__mfu=[0.4]))))


def test_resumes_and_hints_are_marked_and_named() -> None:
    facts = {"resumed": [{"step": 1}, {"step": None}, "x"]}
    seen = run(facts=facts, hints=[{"step": 0, "name": "stuck"}, {"name": "y"}], points=points(train__loss=[0.7, 0.5]))
    assert [(each.at, each.name, each.is_hint) for each in marks_of(seen)] == [
        (1.0, "resumed at step 1", False),
        (0.0, "stuck at step 0", True),
    ]
    said = words(curves(seen))
    assert "Dotted upright lines: resumed at step 1. Triangles: stuck at step 0." in said


def test_throughput_and_memory_have_charts() -> None:
    rows = points(
        train__pairs_per_second=[3.0], train__tokens_per_second=[4.0], train__memory_gib=[5.0], train__mfu=[0.4]
    )
    said = words(cost(run(points=rows)))
    assert all(panel.title in said for panel in COST)
