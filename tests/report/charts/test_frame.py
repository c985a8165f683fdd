"""Frame, legend and marks of a drawing."""

from __future__ import annotations

import re
from itertools import pairwise

from dpo_lightning.report.charts.frame import Mark, Series, axes, figure, left_of, marks
from dpo_lightning.report.charts.scale import Scale
from tests.report.charts.common import drawing, words

X, Y = Scale(0, 1_000_000, 60, 450), Scale(-1, 1, 210, 20)


def test_labels_of_the_horizontal_axis_do_not_run_into_each_other() -> None:
    source = axes(X, Y)
    placed = re.findall(r'x="([\d.]+)" y="226.0" text-anchor="middle">([^<]+)', source)
    assert len(placed) > 1
    ends = [(float(x) - 3.5 * len(label), float(x) + 3.5 * len(label)) for x, label in placed]
    assert all(before[1] < after[0] for before, after in pairwise(ends))


def test_a_line_stands_at_zero_where_zero_is_inside() -> None:
    assert axes(X, Y, zero=True).count('class="zero"') == 2
    assert axes(X, Scale(1, 2, 210, 20), zero=True).count('class="zero"') == 1


def test_there_is_room_for_the_widest_label() -> None:
    assert left_of([(0, "0"), (1, "1,000,000")]) - left_of([(0, "0")]) == 8 * 7
    assert left_of([]) > 0


def test_resumes_are_lines_and_hints_triangles_with_their_names() -> None:
    source = marks(X, Y, [Mark(500_000, "resumed <b>"), Mark(0, "loss stuck", is_hint=True)])
    assert re.findall(r'class="(\w+)" d="M([\d.]+) ', source) == [("mark", "255.0"), ("hint", "55.0")]
    assert "<title>resumed &lt;b&gt;</title>" in source


def test_a_figure_has_a_title_a_legend_and_a_name_for_readers_of_the_screen() -> None:
    source = figure("Loss <&>", "", [Series("train", ()), Series("", ())], "nats")
    tree = drawing(source)
    assert words(source) == ["Loss <&> ", "nats", ""]
    assert ["".join(each.itertext()) for each in tree.iter("li")] == ["train"]
    assert [each.get("aria-label") for each in tree.iter("svg") if each.get("role") == "img"] == ["Loss <&>"]
    assert "<ul" not in figure("Loss", "", [Series("", ())])


def test_the_legend_shows_what_is_drawn() -> None:
    line, dashed, dot = (
        figure("", "", [each])
        for each in (
            Series("a", ()),
            Series("a", (), dash=1, dots=True),
            Series("a", (), 9, dots=True, line=False),
        )
    )
    assert ("dashed" in line, "circle" in line) == (False, False)
    assert ("dashed" in dashed, "circle" in dashed) == (True, True)
    assert ("path" in dot, 'class="point f1"' in dot) == (False, True)
    assert "<rect" in figure("", "", [Series("a", ())], areas=True)
