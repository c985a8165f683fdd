"""A file of completions that gets scores, whole or after a kill."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dpo_lightning.data.formats import ScoredListFormat
from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.scorers.base import NoScoreError, Scorer
from dpo_lightning.rounds.scoring import score_file, score_lines


class OfGroup(Scorer):
    """Scores that depend on the group: a group that begins elsewhere has others."""

    at_once: ClassVar[int] = 3

    def __init__(self, factor: float = 1.0, stops_at: str = "") -> None:
        self.factor, self.stops_at, self.seen = factor, stops_at, 0

    @property
    def made(self) -> Mapping[str, Any]:
        return {"factor": self.factor}

    def score(self, rows: Sequence[Candidates]) -> list[list[float]]:
        for number, row in enumerate(rows):
            if row.prompt == self.stops_at:
                raise NoScoreError("too odd", number, 1)
        self.seen += len(rows)
        whole = sum(len(text) for row in rows for text in row.completions)
        return [[self.factor * whole + len(text) for text in row.completions] for row in rows]

    def columns(self) -> Sequence[Mapping[str, Any]]:
        return [{"seen": True}] * self.at_once


def written(path: Path, count: int = 8) -> Path:
    rows = [
        {"prompt": f"p{n}", "completions": ["a" * n, "ä", "b"], "ended": [True, True, False], "subset": "s"}
        for n in range(1, count + 1)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


class Threes(OfGroup):
    def columns(self) -> Sequence[Mapping[str, Any]]:
        return ()


def test_rows_keep_what_they_had_and_are_read_as_lists_with_scores(tmp_path: Path) -> None:
    file = written(tmp_path / "in.jsonl", 3)
    found = score_file(file, tmp_path / "out.jsonl", OfGroup())
    assert found == [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found[1] == {
        "prompt": "p2",
        "completions": ["aa", "ä", "b"],
        "scores": [14.0, 13.0, 13.0],
        "ended": [True, True, False],
        "subset": "s",
        "seen": True,
    }
    assert ScoredListFormat(score="scores").examples(found[1])[0].completions == ["aa", "ä", "b"]


def test_a_file_that_was_cut_anywhere_ends_with_the_same_bytes(tmp_path: Path) -> None:
    file, out, part = written(tmp_path / "in.jsonl"), tmp_path / "out.jsonl", tmp_path / ".out.jsonl.part"
    whole = tmp_path / "whole.jsonl"
    score_file(file, whole, Threes())
    expected = whole.read_bytes()
    for length in (0, 5, expected.index(b"\n") + 1, len(expected) // 2, len(expected) - 3):
        score_file(file, out, Threes())
        out.replace(part)
        part.write_bytes(expected[:length])
        scorer = Threes()
        score_file(file, out, scorer)
        assert out.read_bytes() == expected
        done = expected[:length].count(b"\n")
        assert scorer.seen == 8 - done + done % 3
        assert not part.exists()
        out.unlink()
    score_file(file, whole, scorer := Threes())
    assert scorer.seen == 0


def test_what_was_written_before_an_error_stays(tmp_path: Path) -> None:
    file, out = written(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    with pytest.raises(InputError, match=r"score .*in\.jsonl, line 5, completion 1: too odd"):
        score_file(file, out, Threes(stops_at="p5"))
    assert not out.exists()
    assert (tmp_path / ".out.jsonl.part").read_text().count("\n") == 3
    with pytest.raises(InputError, match=r"made of something else \(scorer \{\"factor\": 1\.0\}, not"):
        score_file(file, out, Threes(factor=2.0))
    file.write_text(file.read_text().replace("p8", "p9"))
    with pytest.raises(InputError, match=r"made of something else \(file "):
        score_file(file, out, Threes())
    with pytest.raises(InputError, match=r"--out: .*is the file that is read"):
        score_file(file, tmp_path / "../" / tmp_path.name / "in.jsonl", Threes())
    assert len(file.read_text().splitlines()) == 8


def test_the_lines_at_the_end_are_those_of_hand_counts() -> None:
    assert score_lines([{"scores": [1.0, 3.0]}, {"scores": [2.0, 2.0]}, {"scores": [5.0]}]) == [
        "5 completions of 3 prompts: mean 2.6, from 1 to 5",
        "standard deviation 1.356, of the completions of one prompt 0.3333 in the mean",
        "2 of 3 rows (67%) have no two different scores: no pair comes of them",
    ]
