"""Scores of a benchmark, kept as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.benchmark.evaluation import check_out, evaluated, rows_of, scored_rows, write_results
from dpo_lightning.rounds.benchmark.rows import read_benchmark
from dpo_lightning.rounds.scorers.function import FunctionScorer
from tests.rounds.benchmark.test_rows import LISTS, PAIR, written


def by_length(**made: Any) -> FunctionScorer:
    return FunctionScorer(lambda prompt, text: len(text), {"function": "len", **made})


def test_a_killed_call_goes_on_with_the_rows_that_it_kept(tmp_path):
    benchmark = read_benchmark(written(tmp_path, *[{**PAIR, "chosen": "4" * k} for k in range(1, 6)]), "train", str)
    out, asked = tmp_path / "results.json", []

    def dies(prompt: Any, text: str) -> float:
        if text == "444":
            raise KeyboardInterrupt
        return len(text)

    with pytest.raises(KeyboardInterrupt):
        scored_rows(benchmark, FunctionScorer(dies, {"function": "len"}), out)
    assert not rows_of(out).exists()

    def counted(prompt: Any, text: str) -> float:
        asked.append(text)
        return len(text)

    rows = scored_rows(benchmark, FunctionScorer(counted, {"function": "len"}), out)
    assert asked == ["444", "5", "4444", "5", "44444", "5"]
    assert rows == scored_rows(benchmark, by_length(), None)
    assert [json.loads(line) for line in rows_of(out).read_text().splitlines()] == rows
    with pytest.raises(
        InputError, match=r"^evaluate --out: .*results\.rows\.jsonl was made of something else \(scorer"
    ):
        scored_rows(benchmark, by_length(other=1), out)


def test_results_are_written_with_what_they_are_of(tmp_path):
    benchmark = read_benchmark(written(tmp_path, LISTS, {**LISTS, "chosen": ["rose"], "num_correct": 1}), "train", str)
    results = evaluated(benchmark, scored_rows(benchmark, by_length(), None), "wrong")
    write_results(tmp_path / "results.json", results, file="bench.jsonl")
    found = json.loads((tmp_path / "results.json").read_text())
    assert (found["file"], found["rows"], found["accuracy"], found["equal_scores_of_a_pair"]) == (
        "bench.jsonl",
        2,
        1,
        "wrong",
    )
    assert found["subsets"]["Ties"]["longer_wins"] == 1.0


def test_names_of_files_are_checked(tmp_path):
    check_out(None, None)
    with pytest.raises(InputError, match=r"^evaluate --out: give a name that ends in \.json, got 'a\.txt'"):
        check_out(Path("a.txt"), None)
    with pytest.raises(InputError, match=r"^evaluate --plot: give a name that ends in \.png, got 'a\.pdf'"):
        check_out(None, Path("a.pdf"))
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(InputError, match=r"mine\.json is there, and mine\.rows\.jsonl is not beside it"):
        check_out(tmp_path / "mine.json", None)
