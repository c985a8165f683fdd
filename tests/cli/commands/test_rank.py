"""`rank` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.cli.main import main
from tests.rounds.scorers.test_reward_model import reward_model
from tests.rounds.test_ranking import ROWS, written

FUNCTION = "def f(prompt, completion):\n    return -len(completion)\n"


def said(capsys: Any, *words: object) -> str:
    capsys.readouterr()
    assert main(["rank", *map(str, words)]) is None
    return capsys.readouterr().out


def refusal(capsys: Any, *words: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["rank", *map(str, words)])
    assert caught.value.code
    lines = str(caught.value.code if isinstance(caught.value.code, str) else capsys.readouterr().err).splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_function_ranks_a_file_and_the_file_ranks_again_by_its_scores(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "f.py").write_text(FUNCTION)
    file = written(tmp_path / "in.jsonl")
    out = said(capsys, file, "--out", tmp_path / "out.jsonl", "--function", f"{tmp_path / 'f.py'}:f")
    assert out.splitlines()[0] == "3 rows, best of up to 4: mean score -2, of all completions -2.143"
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first["completions"] == ["x", "xx", "yyy", "zzz"]
    again = written(tmp_path / "scored.jsonl", [{**ROWS[1], "scores": [1.0, 2.0]}])
    assert f"the best in {tmp_path / 'best.jsonl'}" in said(capsys, again, "--out", tmp_path / "best.jsonl", "--best")
    assert json.loads((tmp_path / "best.jsonl").read_text())["completions"] == ["y"]


def test_a_reward_model_ranks(tmp_path: Path, capsys: Any) -> None:
    file = written(tmp_path / "in.jsonl")
    said(capsys, file, "--out", tmp_path / "out.jsonl", "--reward_model", reward_model(tmp_path / "model"))
    for line, row in zip((tmp_path / "out.jsonl").read_text().splitlines(), ROWS, strict=True):
        found = json.loads(line)
        assert found["scores"] == sorted(found["scores"], reverse=True)
        assert found["completions"] == [row["completions"][place] for place in found["places"]]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "line 1: no scores: name a scorer"),
        (["--plain"], "rank: name one scorer, got none"),
        (["--function", "nowhere.f"], "rank --function nowhere.f: it cannot be imported"),
        (["--function", "a.b", "--judge", "m"], "rank: name one scorer, got --function and --judge"),
        (["--function", "builtins.len", "--beta", "1"], "rank --beta: nothing reads it with --function"),
        (["--beta", "many"], "argument --beta: invalid float value: 'many'"),
        (["--besst"], "--besst"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(words: list[str], line: str, tmp_path: Path, capsys: Any) -> None:
    file = written(tmp_path / "in.jsonl")
    assert line in refusal(capsys, file, "--out", tmp_path / "out.jsonl", *words)
    assert not (tmp_path / "out.jsonl").exists()
