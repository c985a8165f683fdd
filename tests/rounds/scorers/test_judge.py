"""A judge's scores, against a local server whose preferences are known."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.scorers.judge import Judge
from dpo_lightning.rounds.scorers.options import add_scorer_arguments, scorer_of
from dpo_lightning.rounds.scorers.rubric import AGAIN, DEFAULT
from tests.helpers.endpoint import StandIn, stand_in


def loaded(*words: object) -> Any:
    parser = ArgumentParser()
    add_scorer_arguments(parser)
    return scorer_of(parser.parse_args([*map(str, words)]), "score")


def judge(server: StandIn, *words: object) -> Judge:
    return loaded("--judge", "tiny", "--endpoint", server.url, *words)


def answers(request: dict[str, Any]) -> tuple[str, str]:
    """The two answers in a request to the judge."""
    asked = request["messages"][1]["content"]
    first, second = asked.split("[Answer A]\n")[1].split("\n\n[End of")[0].split("\n\n[Answer B]\n")
    return first, second


def longer(request: dict[str, Any], number: int) -> str:
    """Prefer the longer answer; a tie where it is one character."""
    first, second = map(len, answers(request))
    return "Counted.\n[[C]]" if abs(first - second) < 2 else f"Counted.\n[[{'A' if first > second else 'B'}]]"


def test_all_pairs_give_the_share_of_wins() -> None:
    rows = [Candidates("p", ["aaaa", "a", "aa", "aaaaaaaa"]), Candidates("q", ["bb"]), Candidates("r", ["c", "c"])]
    with stand_in(longer) as server, judge(server) as scorer:
        found = scorer.score(rows)
        # 4 beats 1 and 2; 1 and 2 are a tie; 8 beats all.
        assert found == [[2 / 3, 0.5 / 3, 0.5 / 3, 1.0], [0.5], [0.5, 0.5]]
        asked = [answers(each) for each in server.requests]
        assert len(asked) == 12  # six pairs in both orders, and nobody is asked about two of one text
        assert {(two, one) for one, two in asked} == {*asked}
        assert {each["temperature"] for each in server.requests} == {0.0}
        assert {each["messages"][0]["content"] for each in server.requests} == {DEFAULT}
        counts = {"comparisons": 6, "changed": 0, "first": 0, "ties": 1, "none": 0}
        assert [each["judged"] for each in scorer.columns()] == [
            counts,
            {**counts, "comparisons": 0, "ties": 0},
            {**counts, "comparisons": 1, "ties": 1},
        ]
        assert scorer.lines(scorer.columns()) == [
            "7 comparisons in both orders: 2 ties (29%), 0 without a verdict",
            "position bias: 0 of 7 answers (0%) changed with the order, 0 of them for the first answer both times",
        ]


def test_the_best_so_far_asks_less() -> None:
    rows = [Candidates("p", ["aa", "aaa", "aaaaaa", "a", "aaaaa"])]
    with stand_in(longer) as server, judge(server, "--compare", "best") as scorer:
        assert scorer.score(rows) == [[0.0, 0.0, 1.0, 0.0, 1.0]]
        assert len(server.requests) == 8


def test_a_judge_that_prefers_a_place_has_no_opinion() -> None:
    with stand_in(lambda request, number: "[[A]]") as server, judge(server) as scorer:
        assert scorer.score([Candidates("p", ["one", "two", "three"])]) == [[0.5, 0.5, 0.5]]
        assert scorer.lines(scorer.columns()) == [
            "3 comparisons in both orders: 3 ties (100%), 0 without a verdict",
            "position bias: 3 of 3 answers (100%) changed with the order, 3 of them for the first answer both times",
        ]


def test_what_is_no_verdict_is_asked_again_and_then_named() -> None:
    def hesitant(request: dict[str, Any], number: int) -> str:
        return longer(request, number) if request["messages"][-1]["content"] == AGAIN else "Answer A is better."

    rows = [Candidates("p", ["a", "aaaa"])]
    with stand_in(hesitant) as server, judge(server, "--rubric", __file__) as scorer:
        assert scorer.score(rows) == [[0.0, 1.0]]
        assert [each["content"] for each in server.requests[-1]["messages"][2:]] == ["Answer A is better.", AGAIN]
        assert len(server.requests) == 4
    with stand_in(hesitant) as server, judge(server, "--ask_again", 0) as scorer:
        assert scorer.score(rows) == [[0.5, 0.5]]
        assert scorer.columns()[0]["judged"]["none"] == 1
        assert scorer.lines(scorer.columns())[0].endswith("0 ties (0%), 1 without a verdict")
        assert scorer.lines(scorer.columns())[2] == "the first that was no verdict: 'Answer A is better.'"
    with stand_in(lambda request, number: ("so\n[[A]]", "length")) as server, judge(server) as scorer:
        scorer.score(rows)
        assert scorer.columns()[0]["judged"]["none"] == 1  # a text that was cut has no last line
        assert len(server.requests) == 6


def test_a_server_decides_on_nothing_and_its_model_and_texts_do(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("Short.")
    one, two = (loaded("--judge", "m", "--endpoint", f"http://{host}/v1") for host in ("a", "b"))
    assert one.made == two.made
    assert one.made["rubric"] == DEFAULT
    for more in (["--rubric", tmp_path / "own.txt"], ["--ask_again", 1], ["--compare", "best"], ["--judge_tokens", 9]):
        assert loaded("--judge", "m", "--endpoint", "http://a/v1", *more).made != one.made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--judge", "m"], "score --judge m: give its server as --endpoint URL"),
        (["--judge", "m", "--endpoint", "localhost"], "give an address that begins with http"),
        (["--judge", "m", "--endpoint", "http://a/v1", "--rubric", "none.txt"], "score --rubric none.txt: "),
        (["--judge", "m", "--endpoint", "http://a/v1", "--ask_again", "-1"], "--ask_again must be a finite number of"),
        (["--judge", "m", "--endpoint", "http://a/v1", "--judge_tokens", "0"], "--judge_tokens must be at least 1"),
        (["--judge", "m", "--endpoint", "http://a/v1", "--key_variable", "NO_KEY"], "variable NO_KEY"),
    ],
)
def test_what_is_no_judge_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        loaded(*words)


def test_a_server_that_lacks_the_model_names_it() -> None:
    rows = [Candidates("p", ["a", "aaaa"])]
    with stand_in(longer) as server, loaded("--judge", "tinny", "--endpoint", server.url) as scorer:
        said = pytest.raises(InputError, match="no model tinny: did you mean tiny")
        with said:
            scorer.score(rows)
