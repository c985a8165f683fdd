"""Pairs of completions, by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from dpo_lightning.data.formats import AutoFormat, ScoredPairsFormat
from dpo_lightning.errors import InputError
from dpo_lightning.rounds import pairing
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.pairing import Rules, delta_pairs, pair_lines, ranked_pairs, said_of

CHAT = [{"role": "user", "content": "hi"}]
ROW = Candidates("p", ["b", "c", "a", "d"], [2.0, 3.0, 1.0, 2.0])


def ranked(*rows: Candidates, **rules: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    left: Counter[str] = Counter()
    settings = {"how": "best_worst", **rules}
    found = [*ranked_pairs([(f"line {n}", row) for n, row in enumerate(rows, 1)], Rules(**settings), left)]
    return found, {name: count for name, count in left.items() if count}


def sides(pairs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(pair["chosen"], pair["rejected"]) for pair in pairs]


def test_best_and_worst_are_those_of_our_own_format() -> None:
    found, left = ranked(ROW)
    assert found == [
        {"prompt": "p", "chosen": "c", "rejected": "a", "chosen_score": 3.0, "rejected_score": 1.0, "margin": 2.0}
    ]
    assert left == {}
    for how, take in (("best_worst", "best_worst"), ("all", "all_pairs")):
        read = ScoredPairsFormat(completions="completions", score="scores", take=take)
        expected = [tuple(each.completions) for each in read.examples(ROW.row())]
        assert sides(ranked(ROW, how=how)[0]) == expected


def test_all_pairs_leave_out_ties_and_what_is_near() -> None:
    found, left = ranked(ROW, how="all")
    assert sides(found) == [("c", "b"), ("c", "d"), ("c", "a"), ("b", "a"), ("d", "a")]
    assert left == {pairing.TIES: 1}
    found, left = ranked(ROW, how="all", min_gap=1.5)
    assert sides(found) == [("c", "a")]
    assert left == {pairing.TIES: 1, pairing.NEAR: 4}


def test_cut_empty_and_repeated_completions_make_no_pair() -> None:
    row = Candidates(
        "p", ["x", "x", " ", "y", "z"], [1.0, 2.0, 9.0, 3.0, 0.0], [True, True, True, False, True], "m", {"margin": 7}
    )
    found, left = ranked(row, how="all")
    assert sides(found) == [("x", "z")]
    assert (found[0]["chosen_score"], found[0]["margin"]) == (1.5, 1.5)
    assert (found[0]["chosen_model"], found[0]["rejected_model"]) == ("m", "m")
    assert left == {pairing.REPEATED: 1, pairing.EMPTY: 1, pairing.CUT: 1}
    assert sides(ranked(row, how="all", keep_cut=True)[0]) == [("y", "x"), ("y", "z"), ("x", "z")]
    assert ranked(Candidates("p", ["x", "x"], [1.0, 2.0])) == ([], {pairing.REPEATED: 1, pairing.ALONE: 1})
    near = 1.0 + 1e-9  # one number in float32, as a loss gets it
    assert ranked(Candidates("p", ["x", "y"], [near, 1.0])) == ([], {pairing.TIES: 1})


def test_answers_to_messages_are_messages_that_training_reads() -> None:
    row = Candidates(CHAT, ["a", "b"], [0.0, 1.0], beside={"subset": "s", "tools": []})
    (pair,), _ = ranked(row)
    assert pair["chosen"] == [{"role": "assistant", "content": "b"}]
    assert pair["subset"] == "s"
    read = AutoFormat().examples(pair)[0]
    assert read.prompt == CHAT
    assert read.completions == [[{"role": "assistant", "content": text}] for text in "ba"]


def test_rows_without_scores_are_named() -> None:
    with pytest.raises(InputError, match="line 2: no scores: `dpo-lightning score` writes them"):
        ranked(ROW, Candidates("p", ["a", "b"]))


def delta(strong: list[Candidates], weak: list[Candidates], **rules: Any) -> tuple[Any, dict[str, int], list[str]]:
    left: Counter[str] = Counter()
    unmatched: list[str] = []
    named = [[(f"{name} {n}", row) for n, row in enumerate(rows, 1)] for name, rows in (("S", strong), ("W", weak))]
    found = [*delta_pairs(*named, Rules("delta", **rules), left, unmatched)]
    return found, {name: count for name, count in left.items() if count}, unmatched


def test_two_models_rows_are_matched_by_prompt() -> None:
    strong = [
        Candidates("p", ["s1", "s2", "same"], model="big"),
        Candidates(CHAT, ["s3"], model="big"),
        Candidates("only strong", ["s4"]),
        Candidates("p", ["s5"]),
    ]
    weak = [
        Candidates("only weak", ["w1"]),
        Candidates([{"content": "hi", "role": "user"}], ["w2"], model="small"),
        Candidates("p", ["w3", "w4", "same", "w5"]),
        Candidates("p", ["w6"]),
    ]
    found, left, unmatched = delta(strong, weak)
    assert sides(found[:2] + found[3:]) == [("s1", "w3"), ("s2", "w4"), ("s5", "w6")]
    assert found[2]["rejected"] == [{"role": "assistant", "content": "w2"}]
    assert (found[2]["chosen_model"], found[2]["rejected_model"]) == ("big", "small")
    assert "margin" not in found[2]
    assert left == {pairing.SAME: 1, pairing.EXTRA: 1, pairing.UNMATCHED: 2}
    assert unmatched == ["S 3", "W 1"]


def test_a_gap_of_two_models_needs_scores_of_both() -> None:
    strong = [Candidates("p", ["s1", "s2"], [1.0, 5.0])]
    weak = [Candidates("p", ["w1", "w2"], [3.0, 3.5])]
    found, left, _ = delta(strong, weak, min_gap=1.0)
    assert sides(found) == [("s2", "w2")]
    assert (found[0]["margin"], left) == (1.5, {pairing.NEAR: 1})
    assert [pair["margin"] for pair in delta(strong, weak)[0]] == [-2.0, 1.5]
    with pytest.raises(InputError, match="S 1: --min_gap reads scores, and one of the two rows has none"):
        delta(strong, [Candidates("p", ["w1"])], min_gap=1.0)


def test_the_summary_has_three_lines() -> None:
    pairs, _ = ranked(ROW, Candidates(CHAT, ["longer", "s"], [0.0, 1.0]))
    left = Counter({pairing.CUT: 2, pairing.TIES: 0})
    assert pair_lines(pairs, 5, left) == [
        "2 pairs of 5 rows",
        "left out: completions that were cut 2",
        "margin 1.5 in the mean, from 1 to 2; chosen is the longer one in 0% (mean 1 characters, rejected 4)",
    ]
    assert said_of(left) == "completions that were cut 2"
    assert pair_lines([{"chosen": "ab", "rejected": "a"}], 1, Counter())[1:] == [
        "left out: nothing",
        "no margins: the rows have no scores; chosen is the longer one in 100% (mean 2 characters, rejected 1)",
    ]
