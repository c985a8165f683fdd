"""`score` as a user types it: a file of scores, kills, and what is wrong."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.cli.main import main
from tests.helpers.endpoint import stand_in
from tests.helpers.saved import forked, reports
from tests.rounds.scorers.test_judge import longer
from tests.rounds.scorers.test_reward_model import reward_model

FUNCTION = """
import time

def length(prompt, completion):
    return len(completion)

def slow(prompt, completion):
    time.sleep(0.01)
    return len(completion) / 7

def fails(prompt, completion):
    return 1 / (len(completion) - 3)
"""


def written(path: Path, count: int) -> Path:
    rows = [{"prompt": f"p{n}", "completions": ["a" * (n % 5 + 1), "bb", "c" * n]} for n in range(1, count + 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*words: object) -> None:
    main(["score", *map(str, words)])


def killed_at(out: Path, rows: int, *words: object) -> None:
    """Run the command in a copy of this process, and kill it when so many rows are there."""
    part = out.with_name(f".{out.name}.part")

    def command(report: Any) -> None:
        run(*words, "--out", out)

    child, descriptor = forked(command)
    while not part.exists() or part.read_bytes().count(b"\n") < rows:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it could be killed"
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    reports(child, descriptor)
    assert not out.exists()
    assert rows <= part.read_bytes().count(b"\n")


def test_a_function_and_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.py").write_text(FUNCTION)
    run(written(tmp_path / "in.jsonl", 3), "--out", tmp_path / "out.jsonl", "--function", f"{tmp_path}/own.py:length")
    assert [json.loads(line)["scores"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        [2, 2, 1],
        [3, 2, 2],
        [4, 2, 3],
    ]
    assert capsys.readouterr().out.splitlines() == [
        "9 completions of 3 prompts: mean 2.333, from 1 to 4",
        "standard deviation 0.8165, of the completions of one prompt 0.5864 in the mean",
        "0 of 3 rows (0%) have no two different scores: no pair comes of them",
        f"scores in {tmp_path}/out.jsonl",
    ]


def test_a_killed_command_ends_with_the_bytes_of_an_unkilled_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(FUNCTION)
    model = reward_model(tmp_path / "model")
    with stand_in(longer, delay=0.004) as server:
        for name, count, stop, words in (
            ("function", 20, 5, ("--function", f"{tmp_path}/own.py:slow")),
            ("reward_model", 48, 8, ("--reward_model", model)),
            ("judge", 24, 4, ("--judge", "tiny", "--endpoint", server.url)),
        ):
            file = written(tmp_path / f"{name}.jsonl", count)
            whole, out = tmp_path / f"{name}-whole.jsonl", tmp_path / f"{name}-out.jsonl"
            run(file, "--out", whole, *words)
            said = capsys.readouterr().out
            asked = len(server.requests)
            killed_at(out, stop, file, *words)
            run(file, "--out", out, *words)
            assert out.read_bytes() == whole.read_bytes()
            assert capsys.readouterr().out == said.replace(str(whole), str(out))
            before = len(server.requests)
            run(file, "--out", out, *words)  # all is done
            assert capsys.readouterr().out.endswith(f"scores in {out}\n")
            assert len(server.requests) == before
    assert asked > 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["in.jsonl"], "score: name one scorer, got none"),
        (["in.jsonl", "--function", "own.py:length", "--judge", "m"], "got --function and --judge"),
        (["in.jsonl", "--function", "own.py:length", "--label", "1"], "--label: nothing reads it with --function"),
        (["in.jsonl", "--function", "own.py:none"], "no none in own.py"),
        (["in.jsonl", "--function", "nothing.f"], "cannot be imported: ModuleNotFoundError"),
        (["in.jsonl", "--function", "own.py:fails"], "score in.jsonl, line 2, completion 0: the function failed: Zero"),
        (["none.jsonl", "--function", "own.py:length"], "score none.jsonl: "),
        (["empty.jsonl", "--function", "own.py:length"], "there is no row in it"),
        (["text.jsonl", "--function", "own.py:length"], "line 1: no JSON"),
        (["pairs.jsonl", "--function", "own.py:length"], "line 1, completions: give a list of texts, got None"),
        (["in.jsonl", "--reward_model", "./nowhere"], "no such directory: ./nowhere"),
        (["in.jsonl", "--judge", "m"], "give its server as --endpoint URL"),
        (["in.jsonl", "--judge", "m", "--endpoint", "http://127.0.0.1:9/v1"], "no server answers"),
        (["in.jsonl", "--run", "missing.ckpt"], "score: there is no checkpoint missing.ckpt"),
        (["in.jsonl", "--run", "in.jsonl"], "in.jsonl"),
        (["in.jsonl", "--run", ".", "--config", "none.yaml"], "score --config none.yaml"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "dpo_lightning.rounds.endpoint.Endpoint.__init__.__kwdefaults__",
        {
            "timeout": 5.0,
            "retries": 0,
            "at_once": 2,
        },
        raising=False,
    )
    (tmp_path / "own.py").write_text(FUNCTION)
    written(tmp_path / "in.jsonl", 4)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "text.jsonl").write_text("a\n")
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b"}\n')
    with pytest.raises(SystemExit) as stopped:
        main(["score", *words, "--out", "out.jsonl"])
    said = str(stopped.value.code)
    assert said.startswith("error: ")
    assert line in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()
