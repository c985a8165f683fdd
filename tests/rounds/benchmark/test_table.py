"""Results as lines of 80 characters."""

from __future__ import annotations

from dpo_lightning.rounds.benchmark.results import results_of
from dpo_lightning.rounds.benchmark.sections import SECTIONS
from dpo_lightning.rounds.benchmark.table import table
from tests.rounds.benchmark.test_results import ROWS, row


def test_subsets_sections_and_length():
    lines = [*table(results_of(ROWS, "half", has_subsets=True))]
    assert lines[1].split() == ["math-prm", "3", "50.0", "%", "(12.5–87.5)", "1", "66.7", "%"]
    assert "  Reasoning                            57.1 %  (2 of 7 subsets)" in lines
    assert lines[-1] == "ties: two equal scores of a pair count half (--ties), k of more 1 / k"
    assert any(
        line.startswith("length: 50.0 %") and "of 2 rows where the right text is the longest" in line for line in lines
    )
    assert not any("four sections" in line for line in lines)


def test_all_of_rewardbench_has_a_mean_and_lines_fit():
    rows = [row(name, "a", "bb", [1.0, 0.0]) for section in SECTIONS.values() for name in section] * 500
    lines = [*table(results_of(rows, "wrong", has_subsets=True))]
    assert "  mean of the four sections            100.0 %" in lines
    assert not any(line.startswith("ties") for line in lines)
    named = [row("a name that is much longer than the column is wide", "a", "bb", [1.0, 1.0])]
    lines += table(results_of(named * 3, "wrong", has_subsets=True))
    assert max(map(len, lines)) <= 80
    assert any("…" in line for line in lines)


def test_without_subsets_there_is_one_line_of_shares():
    lines = [*table(results_of([{**each, "subset": "all"} for each in ROWS], "wrong", has_subsets=False))]
    assert lines[1].startswith("all rows")
    assert not any("subsets" in line for line in lines)
