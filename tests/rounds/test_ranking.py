"""Completions in the order of their scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.ranking import ScoresOfFile, best_of, rank_file, rank_lines, ranked
from dpo_lightning.rounds.scorers.function import FunctionScorer

ROWS = [
    {
        "prompt": "a",
        "completions": ["xx", "x", "yyy", "zzz"],
        "ended": [True, False, True, False],
        "model": "m",
        "n": 7,
    },
    {"prompt": "b", "completions": ["x", "y"]},
    {"prompt": [{"role": "user", "content": "c"}], "completions": ["only"]},
]


def written(path: Path, rows: Any = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def by_length(**made: Any) -> FunctionScorer:
    return FunctionScorer(lambda prompt, text: len(text), {"function": "len", **made})


def test_the_best_stands_first_with_its_values_and_equal_ones_keep_their_order(tmp_path):
    rows = rank_file(written(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", by_length())
    assert rows[0] == {
        "prompt": "a",
        "completions": ["yyy", "zzz", "xx", "x"],
        "scores": [3.0, 3.0, 2.0, 1.0],
        "ended": [True, False, True, False],
        "model": "m",
        "n": 7,
        "places": [2, 3, 0, 1],
    }
    assert [row["places"] for row in rows[1:]] == [[0, 1], [0]]
    assert rows == [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    said = rank_lines(rows)
    assert said[0] == "3 rows, best of up to 4: mean score 2.667, of all completions 2.143"
    assert said[1].startswith("ties: 2 rows have equal scores, 2 of them the best")


def test_the_best_alone_with_the_scores_of_all(tmp_path):
    rows = rank_file(written(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", by_length(), best=True)
    assert [row["completions"] for row in rows] == [["yyy"], ["x"], ["only"]]
    assert (rows[0]["scores"], rows[0]["ended"], rows[0]["places"]) == ([3.0], [True], [2])
    assert rows[0]["all_scores"] == [2.0, 1.0, 3.0, 3.0]
    assert rank_lines(rows)[0] == "3 rows, best of up to 4: mean score 2.667, of all completions 2.143"


def test_scores_of_the_file_and_rows_without(tmp_path):
    row = Candidates("a", ["x", "y", "z"], [0.0, -0.0, 1.0])
    assert ranked(row)["places"] == [2, 0, 1]
    assert best_of(row)["places"] == [2]
    file = written(tmp_path / "in.jsonl", [row.row(), {"prompt": "b", "completions": ["x"]}])
    with pytest.raises(InputError, match=r"in\.jsonl, line 2: no scores: name a scorer \(--function"):
        rank_file(file, tmp_path / "out.jsonl", ScoresOfFile())


def test_a_killed_call_goes_on_and_ends_with_the_same_bytes(tmp_path):
    file, asked = written(tmp_path / "in.jsonl"), []

    def dies(prompt: Any, text: str) -> float:
        if text == "only":
            raise KeyboardInterrupt
        return len(text)

    with pytest.raises(KeyboardInterrupt):
        rank_file(file, tmp_path / "out.jsonl", FunctionScorer(dies, {"function": "len"}))
    assert not (tmp_path / "out.jsonl").exists()

    def counted(prompt: Any, text: str) -> float:
        asked.append(text)
        return len(text)

    rank_file(file, tmp_path / "out.jsonl", FunctionScorer(counted, {"function": "len"}))
    assert asked == ["only"]
    rank_file(file, tmp_path / "whole.jsonl", by_length())
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"made of something else \(best false, not true\)"):
        rank_file(file, tmp_path / "out.jsonl", by_length(), best=True)


def test_what_is_refused_and_what_is_said(tmp_path):
    file = written(tmp_path / "in.jsonl")
    with pytest.raises(InputError, match=r"^rank --out: .*in\.jsonl is the file that is read"):
        rank_file(file, file, by_length())
    rank_file(file, tmp_path / "out.jsonl", by_length())
    with pytest.raises(InputError, match=r"out\.jsonl, line 1, places: the row is ranked already"):
        rank_file(tmp_path / "out.jsonl", tmp_path / "twice.jsonl", by_length())
    beside = [{"prompt": "a", "completions": ["x", "yy"], "tokens": [4, 5]}]
    rows = rank_file(written(tmp_path / "more.jsonl", beside), tmp_path / "more_out.jsonl", by_length())
    assert rows[0]["tokens"] == [4, 5]
    assert rank_lines(rows)[-1].startswith("tokens: as many values as completions, in the order that these had")
