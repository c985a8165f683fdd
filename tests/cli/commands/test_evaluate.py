"""`evaluate` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_lightning.cli.main import main
from tests.helpers.endpoint import stand_in
from tests.helpers.runs import rows, saved_model
from tests.rounds.benchmark.test_rows import LISTS, PAIR, written
from tests.rounds.scorers.test_judge import longer
from tests.rounds.scorers.test_reward_model import reward_model

FUNCTION = "def f(prompt, completion):\n    return len(completion)\n\n\ndef same(prompt, completion):\n    return 1\n"
CHAT = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{{ 'assistant: ' }}"


def said(capsys: Any, *words: object) -> Any:
    capsys.readouterr()
    main(["evaluate", *map(str, words)])
    return capsys.readouterr()


def refusal(capsys: Any, *words: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *map(str, words)])
    lines = str(caught.value.code if isinstance(caught.value.code, str) else capsys.readouterr().err).splitlines()
    lines = [line for line in lines if "read as" not in line]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def bench(tmp_path: Path) -> str:
    (tmp_path / "f.py").write_text(FUNCTION)
    return written(tmp_path, *[{**row, "subset": f"s{place % 2}"} for place, row in enumerate(rows(6))])


def test_a_function_with_results_and_a_picture(bench: str, tmp_path: Path, capsys: Any) -> None:
    out, plot = tmp_path / "results.json", tmp_path / "results.png"
    words = [bench, "--function", f"{tmp_path / 'f.py'}:f", "--out", out, "--plot", plot]
    first = said(capsys, *words)
    found = json.loads(out.read_text())
    assert (found["rows"], found["accuracy"], found["longer_wins"]) == (6, 1.0, 1.0)
    assert {*found["subsets"]} == {"s0", "s1"}
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert max(map(len, first.out.splitlines()[:6])) <= 80
    assert said(capsys, *words).out == first.out  # nothing to do but to say it again
    same = said(capsys, bench, "--function", f"{tmp_path / 'f.py'}:same", "--ties", "half")
    assert "all rows                            6  50.0 %" in same.out


def test_a_reward_model_on_lists(tmp_path: Path, capsys: Any) -> None:
    file = written(tmp_path, LISTS, {**LISTS, "chosen": ["rose"], "num_correct": 1, "subset": "Math"})
    printed = said(capsys, file, "--reward_model", reward_model(tmp_path / "model"), "--out", tmp_path / "r.json")
    kept = [json.loads(line) for line in (tmp_path / "r.rows.jsonl").read_text().splitlines()]
    right = [float(min(row["scores"][: row["right"]]) > max(row["scores"][row["right"] :])) for row in kept]
    assert json.loads((tmp_path / "r.json").read_text())["accuracy"] == sum(right) / 2
    assert "read as RewardBench 2" in printed.err


def test_a_judge_whose_ties_count_half_and_who_ranks(bench: str, tmp_path: Path, capsys: Any) -> None:
    with stand_in(lambda request, number: "[[C]]") as server:
        judge = ["--judge", "tiny", "--endpoint", server.url]
        printed = said(capsys, bench, *judge, "--out", tmp_path / "tied.json").out
        assert "all rows                            6  50.0 % (18.8–81.2)       6" in printed
        assert "ties: two equal scores of a pair count half (--ties)" in printed
        assert "6 comparisons in both orders: 6 ties (100%)" in printed
        assert json.loads((tmp_path / "tied.json").read_text())["scorer"]["model"] == "tiny"
    with stand_in(longer) as server:
        file = tmp_path / "in.jsonl"
        file.write_text(json.dumps({"prompt": "p", "completions": ["a", "aaaa", "aaaaaaa"]}) + "\n")
        main(["rank", str(file), "--out", str(tmp_path / "out.jsonl"), "--judge", "tiny", "--endpoint", server.url])
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["places"], row["scores"], row["judged"]["comparisons"]) == ([2, 1, 0], [1.0, 0.5, 0.0], 3)


def test_a_run_reads_texts_by_its_chat_template(bench: str, tmp_path: Path, capsys: Any) -> None:
    model, base = saved_model(tmp_path / "model"), saved_model(tmp_path / "base", initializer_range=0.5)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(model)
    words = [bench, "--run", model, "--reference", base, "--beta", "0.5"]
    printed = said(capsys, *words, "--out", tmp_path / "chat.json")
    assert "prompts of text are written by the chat template, as messages; --as_text takes them" in printed.err
    assert "template" not in said(capsys, *words, "--as_text", "--out", tmp_path / "text.json").err
    row = json.loads((tmp_path / "text.rows.jsonl").read_text().splitlines()[0])
    assert row["scores"][0] == pytest.approx(
        0.5 * log_ratio(model, base, row["prompt"], row["completions"][0]), abs=1e-4
    )
    chat = json.loads((tmp_path / "chat.rows.jsonl").read_text().splitlines()[0])
    assert chat["prompt"] == [{"role": "user", "content": row["prompt"]}]
    assert chat["scores"] != row["scores"]


def log_ratio(model: str, base: str, prompt: str, completion: str) -> float:
    """Plain transformers, in float64."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = [*tokenizer(prompt)["input_ids"], *tokenizer(completion)["input_ids"], tokenizer.eos_token_id]
    start = len(ids) - len(tokenizer(completion)["input_ids"]) - 1
    found = []
    for name in (model, base):
        logits = AutoModelForCausalLM.from_pretrained(name).double()(input_ids=torch.tensor([ids])).logits[0]
        logps = logits.log_softmax(-1)
        found.append(sum(logps[place - 1, ids[place]].item() for place in range(start, len(ids))))
    return found[0] - found[1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "evaluate: name one scorer, got none"),
        (["--function", "builtins.len", "--as_text"], "evaluate --function builtins.len"),
        (["--function", "F:f", "--as_text"], "evaluate --as_text: it is for prompts of text and a --run"),
        (["--function", "F:f", "--out", "r.txt"], "evaluate --out: give a name that ends in .json"),
        (["--function", "F:f", "--plot", "r.svg"], "evaluate --plot: give a name that ends in .png"),
        (["--function", "F:f", "--split", "test"], "evaluate --split: "),
        (["--function", "F:g"], "no g in "),
        (["--function", "F:f", "--label", "1"], "evaluate --label: nothing reads it with --function"),
        (["--function", "F:f", "--ties", "2"], "error: argument --ties: invalid choice"),
        (["--reward_model", "nowhere/at/all"], "evaluate --reward_model nowhere/at/all"),
        (["--run", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--function", "F:f", "--out", "f.py/r.json"], "evaluate --out"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(
    words: list[str], line: str, bench: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {each.name for each in tmp_path.iterdir()}
    assert line in refusal(capsys, bench, *[word.replace("F:", f"{tmp_path / 'f.py'}:") for word in words])
    assert {each.name for each in tmp_path.iterdir()} - {"__pycache__"} == before


def test_a_row_that_is_none_is_named(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "f.py").write_text(FUNCTION)
    file = written(tmp_path, PAIR, {**PAIR, "rejected": None})
    assert "bench.jsonl, row 1 (from 0)" in refusal(capsys, file, "--function", f"{tmp_path / 'f.py'}:f")
