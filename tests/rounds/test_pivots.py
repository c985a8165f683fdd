"""Pivotal tokens of a small world whose chances are known exactly."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning import RowFormat
from dpo_lightning.data import ExampleTokenizer
from dpo_lightning.errors import InputError
from dpo_lightning.policy.sampling import Sampling
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.continuations import PolicyContinuer, TrainingTokens
from dpo_lightning.rounds.pivots import Pivots, PivotSettings, search_file, searched_path
from dpo_lightning.rounds.scorers.function import FunctionScorer
from tests.helpers.chains import chain
from tests.helpers.saved import forked, reports
from tests.helpers.tiny import tiny_tokenizer

# Whatever the prompt, an answer is "ab", then "y" or "n", which decides, then "cd", then "e" or "f", which does not.
SURE = {":": {"a": 1}, "a": {"b": 1}, "y": {"c": 1}, "n": {"c": 1}, "c": {"d": 1}, "d": {"e": 0.5, "f": 0.5}}
WORLD = {**SURE, "b": {"y": 0.5, "n": 0.5}, "e": {"</s>": 1}, "f": {"</s>": 1}}
CHAT = "{% for m in messages %}{{ m['content'] }}{{ ':' if m['role'] == 'user' else '!' }}{% endfor %}"
SETTINGS = PivotSettings(threshold=1)
ROWS = [
    Candidates(f"{word}:", ["abycde", "abncdf"], None, [True, False], "tiny", {"id": word}) for word in ("sun", "moon")
]


def continuer(template: str | None = None, world: Any = WORLD) -> PolicyContinuer:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return PolicyContinuer(chain(world), "tiny", TrainingTokens(tokenizer), Sampling(32, 8, 1.0, 0))


def judge(slow: float = 0.0) -> FunctionScorer:
    def right(prompt: Any, answer: str) -> float:
        time.sleep(slow)
        return float("y" in answer)

    return FunctionScorer(right, {"function": "right"})


def search(path: Path, rows: list[Candidates] = ROWS, **settings: Any) -> tuple[Pivots, list[dict[str, Any]]]:
    (path / "samples.jsonl").write_text("".join(json.dumps(row.row()) + "\n" for row in rows))
    given = {"continuer": continuer(), "scorer": judge(), "settings": SETTINGS, **settings}
    found = search_file(path / "samples.jsonl", path / "pairs.jsonl", **given)
    return found, [json.loads(line) for line in (path / "pairs.jsonl").read_text().splitlines()]


def test_the_token_that_decides_is_found_with_what_else_could_stand_there(tmp_path: Path) -> None:
    found, pairs = search(tmp_path)
    assert [(pair["prompt"], pair["chosen"], pair["rejected"], pair["id"]) for pair in pairs] == [
        ("sun:ab", "y", "n", "sun"),
        ("moon:ab", "y", "n", "moon"),
    ]  # of both answers of a row it is the same pair
    assert [(pair["p_chosen"], pair["p_rejected"]) for pair in pairs] == [(1.0, 0.0)] * 2
    assert all(0.25 <= pair["p_before"] <= 0.75 for pair in pairs)  # a half, by 32 samples
    assert (found.rows, found.outside, found.pairs) == (2, 0, 2)
    (first, _) = map(json.loads, searched_path(tmp_path / "pairs.jsonl").read_text().splitlines())
    good, bad = first["answers"]
    assert [good[-1][2], bad[-1][2]] == [1.0, 0.0]
    assert {each[0]: each[2] for each in good}["y"] == 1.0
    assert "".join(each[0] for each in good) == "abycde"


def test_pairs_are_single_tokens_as_training_has_them(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "sun"}]
    rows = [
        ROWS[0]._replace(prompt=messages),
        ROWS[0]._replace(prompt=[*messages, {"role": "assistant", "content": "a"}]),
    ]
    rows[1] = rows[1]._replace(completions=["bycde"], ended=None)
    _, pairs = search(tmp_path, rows, continuer=continuer(CHAT))
    assert [pair["prompt"] for pair in pairs] == [[*messages, {"role": "assistant", "content": "ab"}]] * 2
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    for pair in pairs:
        (example,) = RowFormat().examples(pair, str)
        tokens = ExampleTokenizer(tokenizer, 100, eos="never")(example).example
        assert tokens.prompt_ids == tokenizer("sun:ab")["input_ids"]
        assert list(map(list, tokens.completion_ids)) == [tokenizer("y")["input_ids"], tokenizer("n")["input_ids"]]


def test_prompts_that_are_easy_or_hopeless_are_not_searched(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no pair of pivotal tokens in 2 rows, 2 of them with a chance outside 0.2 to"
    ):
        search(tmp_path, continuer=continuer(world={**WORLD, "b": {"y": 0.95, "n": 0.05}}))
    assert not (tmp_path / "pairs.jsonl").exists()
    trace = [json.loads(line) for line in searched_path(tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert all(row["p"] > 0.8 and not row["answers"] for row in trace)


def test_a_token_that_the_policy_hardly_says_is_compared_with_what_it_says(tmp_path: Path) -> None:
    _, pairs = search(tmp_path, [ROWS[0]._replace(completions=["yycde"], ended=[True])])
    assert [(pair["prompt"], pair["chosen"], pair["rejected"], pair["p_chosen"]) for pair in pairs] == [
        ("sun:", "y", "a", 1.0)
    ]
    assert 0.25 <= pairs[0]["p_rejected"] <= 0.75


def test_a_token_in_whose_place_answers_end_gives_no_pair(tmp_path: Path) -> None:
    world = continuer(world={":": {"y": 0.5, "</s>": 0.5}, "y": {"</s>": 1}})
    with pytest.raises(InputError, match="no pair of pivotal tokens in 1 rows, 0 of them"):
        search(tmp_path, [ROWS[0]._replace(completions=["y", "y"])], continuer=world)
    (row,) = map(json.loads, searched_path(tmp_path / "pairs.jsonl").read_text().splitlines())
    assert row["without_pair"] == 2
    assert row["answers"][0][0][1:] == [row["p"], 1.0]


def test_a_killed_search_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    rows = [ROWS[number % 2]._replace(prompt=f"{'sun' * (number + 1)}:") for number in range(4)]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    search(tmp_path / "whole", rows)
    child, descriptor = forked(lambda report: search(tmp_path / "killed", rows, scorer=judge(0.001)))
    part, limit = tmp_path / "killed/.pairs.searched.jsonl.part", time.monotonic() + 60
    while not part.exists() or part.read_bytes().count(b"\n") < 1:
        time.sleep(0.005)
        assert time.monotonic() < limit
    os.kill(child, signal.SIGKILL)
    reports(child, descriptor)
    assert not (tmp_path / "killed/pairs.jsonl").exists()
    assert 1 <= part.read_bytes().count(b"\n") < 4
    search(tmp_path / "killed", rows)
    for name in ("pairs.jsonl", "pairs.searched.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_was_made_of_something_else_is_refused(tmp_path: Path) -> None:
    search(tmp_path, ROWS[:1])
    written = (tmp_path / "pairs.jsonl").read_bytes()
    for settings, named in [
        ({"settings": SETTINGS._replace(gap=0.3)}, "gap 0.2, not 0.3"),
        ({"scorer": FunctionScorer(lambda prompt, answer: 1.0, {"function": "other"})}, "scorer "),
        ({"continuer": continuer(world={**WORLD, "b": {"y": 0.6, "n": 0.4}})}, "weights "),
    ]:
        with pytest.raises(InputError, match=f"was made of something else .*{named}"):
            search(tmp_path, ROWS[:1], **settings)
    assert (tmp_path / "pairs.jsonl").read_bytes() == written
    searched_path(tmp_path / "pairs.jsonl").unlink()
    with pytest.raises(InputError, match=r"pairs\.jsonl is there, and nothing says what it was made of"):
        search(tmp_path, ROWS[:1])
