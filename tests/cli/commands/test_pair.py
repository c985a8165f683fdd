"""`pair` as a user types it: pairs that a fit reads with the tokens that were sampled, kills, and what is wrong."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_lightning import PreferenceDataModule
from dpo_lightning.batch.tokens import batch_tokens
from dpo_lightning.cli.commands import pair as command
from dpo_lightning.cli.main import main
from dpo_lightning.policy.sampling import sample_tokens
from dpo_lightning.rounds.kept_rows import KeptRows
from dpo_lightning.rounds.prompts import Asked, prompt_ids
from tests.helpers.runs import saved_model
from tests.helpers.saved import forked, reports

CHAT = (
    "{% for m in messages %}{{ m['role'] + ':' }}{% if m['role'] == 'assistant' %}"
    "{{ m['content'] + '</s>' }}{% else %}{{ m['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored(count: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"p{n}", "completions": [f"a{n}", f"b{n}", "c"], "scores": [n, -n, n / 2]}
        for n in range(1, count + 1)
    ]


def run(*words: object) -> None:
    main(["pair", *map(str, words)])


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_of_pairs_and_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "in.jsonl", scored(2))
    run(file, "--out", tmp_path / "out.jsonl", "--how", "all", "--min_gap", "1.5")
    found = [(row["prompt"], row["chosen"], row["rejected"], row["margin"]) for row in read(tmp_path / "out.jsonl")]
    assert found == [
        ("p1", "a1", "b1", 2.0),
        ("p1", "c", "b1", 1.5),
        ("p2", "a2", "b2", 4.0),
        ("p2", "c", "b2", 3.0),
    ]
    assert capsys.readouterr().out.splitlines() == [
        "4 pairs of 2 rows",
        "left out: pairs below --min_gap 2",
        "margin 2.625 in the mean, from 1.5 to 4; chosen is the longer one in 0% (mean 2 characters, rejected 2)",
        f"pairs in {tmp_path}/out.jsonl",
    ]


def test_two_models_and_the_prompts_that_only_one_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strong = written(tmp_path / "strong.jsonl", [{"prompt": f"p{n}", "completions": [f"s{n}"]} for n in (1, 2)])
    weak = written(tmp_path / "weak.jsonl", [{"prompt": f"p{n}", "completions": [f"w{n}"]} for n in (2, 3)])
    run(strong, weak, "--out", tmp_path / "out.jsonl", "--how", "delta")
    assert read(tmp_path / "out.jsonl") == [{"prompt": "p2", "chosen": "s2", "rejected": "w2"}]
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "left out: prompts without a row in the other file 2"
    assert said[3] == f"the first prompt without a row in the other file: pair {strong}, line 1"


def test_training_reads_the_very_tokens_that_were_sampled(tmp_path: Path) -> None:
    directory = saved_model(tmp_path / "model", initializer_range=0.5)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(directory)
    messages = [{"role": "user", "content": "hi there"}]
    prompt = prompt_ids(Asked(messages), tokenizer, plain=False)
    model = AutoModelForCausalLM.from_pretrained(directory)
    how = {"samples_per_prompt": 40, "max_new_tokens": 12, "temperature": 1.0, "seed": 3}
    sampled = sample_tokens(model, [prompt], tokenizer.eos_token_id, **how)[0]
    ended = [ids[-1] == tokenizer.eos_token_id for ids in sampled]
    texts = tokenizer.batch_decode(sampled, skip_special_tokens=True)
    said = {*range(2, len(tokenizer))}  # the other ids have no text
    whole = [k for k, ids in enumerate(sampled) if ended[k] and {*ids} <= said and texts[k].strip()]
    assert len({texts[k] for k in whole}) > 3
    assert not all(ended)
    chosen, rejected = whole[0], next(k for k in whole if texts[k] != texts[whole[0]])
    kept = [chosen, rejected, ended.index(False)]
    row = {
        "prompt": messages,
        "completions": [texts[k] for k in kept],
        "scores": [2.0, 1.0, 3.0],
        "ended": [ended[k] for k in kept],
    }
    run(written(tmp_path / "in.jsonl", [row]), "--out", tmp_path / "pairs.jsonl")
    data = PreferenceDataModule(str(tmp_path / "pairs.jsonl"), directory, batch_pairs=1)
    data.prepare_data()
    data.setup("fit")
    ((prompt_read, completions),) = batch_tokens(next(iter(data.train_dataloader())))
    assert prompt_read == prompt
    assert completions == [sampled[chosen], sampled[rejected]]


def test_a_killed_command_ends_with_the_bytes_of_an_unkilled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_AT_ONCE", 2)
    file = written(tmp_path / "in.jsonl", scored(30))
    run(file, "--out", tmp_path / "whole.jsonl", "--how", "all")
    out, part = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.part"

    def slowly(report: Any) -> None:
        add = KeptRows.add
        KeptRows.add = lambda own, rows: (add(own, rows), time.sleep(0.02))[0]  # type: ignore[method-assign]
        run(file, "--out", out, "--how", "all")

    child, descriptor = forked(slowly)
    while not part.exists() or part.read_bytes().count(b"\n") < 7:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it could be killed"
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    reports(child, descriptor)
    assert not out.exists()
    with part.open("a") as torn:
        torn.write('{"prompt": "p')
    run(file, "--out", out, "--how", "all")
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert out.read_bytes().count(b"\n") == 90


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["none.jsonl"], "pair none.jsonl: No such file"),
        (["empty.jsonl"], "there is no row in it"),
        (["plain.jsonl"], "plain.jsonl, line 1: no scores: `dpo-lightning score` writes them"),
        (["nan.jsonl"], "nan.jsonl, line 1, scores: give finite numbers, one for each of 2 completions"),
        (["short.jsonl"], "short.jsonl, line 1, scores: give finite numbers, one for each of 2 completions"),
        (["ties.jsonl"], "pair ties.jsonl: no pair comes of 1 rows: pairs with one score 1"),
        (["in.jsonl", "--min_gap", "100"], "no pair comes of 3 rows: pairs below --min_gap 3"),
        (["in.jsonl", "--min_gap", "0"], "pair --min_gap must be a finite number greater than 0, got 0.0"),
        (["in.jsonl", "--min_gap", "nan"], "pair --min_gap must be a finite number greater than 0, got nan"),
        (["in.jsonl", "--how", "delta"], "pair --how delta: give a second file, that of the weaker model: for --how"),
        (["in.jsonl", "plain.jsonl"], "pair --how best_worst: a second file is for --how delta"),
        (["in.jsonl", "in.jsonl", "--how", "delta"], "two files with the same rows: give those of two models"),
        (["in.jsonl", "ties.jsonl", "--how", "delta"], "no pair comes of 3 rows: prompts without a row in the other"),
        (["plain.jsonl", "ties.jsonl", "--how", "delta", "--min_gap", "1"], "--min_gap reads scores, and one of the"),
        (["in.jsonl", "--out", "in.jsonl"], "pair --out: in.jsonl is a file that is read"),
        (["in.jsonl", "--out", "there.jsonl"], "there.jsonl is there, and nothing says what it was made of"),
        (["in.jsonl", "--out", "."], "pair --out"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "in.jsonl", scored(3))
    written(tmp_path / "plain.jsonl", [{"prompt": "p", "completions": ["a", "b"]}])
    written(tmp_path / "ties.jsonl", [{"prompt": "p", "completions": ["x", "y"], "scores": [1, 1]}])
    written(tmp_path / "short.jsonl", [{"prompt": "p", "completions": ["a", "b"], "scores": [1]}])
    (tmp_path / "nan.jsonl").write_text('{"prompt": "p", "completions": ["a", "b"], "scores": [1, NaN]}\n')
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "there.jsonl").write_text("mine\n")
    before = {each.name: each.read_text() for each in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as stopped:
        main(["pair", *words, *([] if "--out" in words else ["--out", "out.jsonl"])])
    said = str(stopped.value.code)
    assert said.startswith("error: ")
    assert line in said
    assert len(said.splitlines()) == 1
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == before
