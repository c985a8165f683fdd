"""Scores by a function of the user's."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.scorers.base import scored
from dpo_lightning.rounds.scorers.function import scorer

FILE = '''
import beside
from dpo_lightning.rounds.scorers.base import Scorer

def length(prompt, completion):
    """How long it is."""
    return len(prompt) * 10 + len(completion) + beside.ZERO

def right(prompt, completion, row):
    return completion == row["answer"]

def one_if_right(prompt, completion, *, row):
    return 1.0 if completion == row.get("answer") else 0.0

def fails(prompt, completion):
    return 1 / (len(completion) - 2)

def nan(prompt, completion):
    return float("nan")

def text(prompt, completion):
    return "5"

def truth(prompt, completion):
    return True

def one(prompt):
    return 1

class Own(Scorer):
    made = {"own": 1}
    def score(self, rows):
        return [[0.5] * len(row.completions) for row in rows]

class Needs(Own):
    def __init__(self, model):
        pass

class Other:
    pass

number = 3
'''
ROWS = [Candidates("p", ["a", "bb"]), Candidates([{"role": "user", "content": "q"}], ["cccc"])]
PLACES = ["score f.jsonl, line 1", "score f.jsonl, line 2"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "own_scores.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("ZERO = 0\n")
    (tmp_path / "broken_scores.py").write_text("x = 1\nundefined\n")
    return tmp_path


def loaded(path: str) -> Any:
    return scorer(Namespace(function=path), "score")


def test_a_function_of_a_file_and_of_a_module_score_alike(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_file = loaded(f"{place}/own_scores.py:length")
    monkeypatch.syspath_prepend(place)
    by_name = loaded("own_scores.length")
    assert scored(by_file, ROWS, PLACES) == scored(by_name, ROWS, PLACES) == [[11.0, 12.0], [14.0]]
    assert by_file.made["source"] == by_name.made["source"]
    (place / "own_scores.py").write_text(FILE + "\n")
    assert loaded(f"{place}/own_scores.py:length").made["source"] != by_file.made["source"]


def test_a_function_that_asks_for_the_row_gets_its_other_columns(place: Path) -> None:
    rows = [Candidates("p", ["4", "5"], beside={"answer": "5"}), Candidates("q", ["4"])]
    assert scored(loaded(f"{place}/own_scores.py:one_if_right"), rows, PLACES) == [[0.0, 1.0], [0.0]]
    with pytest.raises(InputError, match="line 1, completion 0: the function returned False, and no number"):
        scored(loaded(f"{place}/own_scores.py:right"), rows, PLACES)


def test_a_class_of_scorer_is_made(place: Path) -> None:
    found = loaded(f"{place}/own_scores.py:Own")
    assert found.score(ROWS) == [[0.5, 0.5], [0.5]]
    assert found.made == {"own": 1}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", r"line 1, completion 1: the function failed: ZeroDivisionError.*own_scores\.py, line 16"),
        ("nan", "line 1, completion 0: its score is nan"),
        ("text", "completion 0: the function returned '5', and no number"),
        ("truth", "completion 0: the function returned True, and no number"),
    ],
)
def test_what_it_returns_is_checked(place: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        scored(loaded(f"{place}/own_scores.py:{name}"), ROWS, PLACES)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("own_scores.py:lenght", "no lenght in .*did you mean `length`"),
        ("own_scores.py:number", "a int: name a function"),
        ("own_scores.py:Other", "a type: name a function"),
        ("own_scores.py:one", "it is called with a prompt and a completion: too many positional"),
        ("own_scores.py:Needs", "it is made without arguments: TypeError"),
        ("missing.py:f", "there is no file .*missing.py"),
        ("broken_scores.py:f", r"NameError.*undefined.*broken_scores\.py, line 2"),
        ("own_scores.py", r"a file alone: name the function in it, as .*own_scores\.py:NAME"),
        ("own_scores.py:", "no path: write package.module.name"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(place: Path, path: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        loaded(f"{place}/{path}")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_module.f", "cannot be imported: ModuleNotFoundError.*FILE.py:NAME"),
        ("length", "no path: write package.module.name"),
        ("math.no_such", "no no_such in math"),
    ],
)
def test_a_module_that_is_not_there_is_named(path: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        loaded(path)
    assert loaded("operator.lt").made == {"function": "operator.lt", "source": loaded("operator.gt").made["source"]}
