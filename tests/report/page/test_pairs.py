"""What the held-out pairs say, against numbers that are counted by hand."""

from __future__ import annotations

import re

import pytest
import torch

from dpo_lightning.report.page.pairs import accuracy, calibration_of, distributions, lengths, pairs_of
from dpo_lightning.training.metrics import is_greater
from tests.report.page.common import pair, run, words


def test_what_the_policy_was_before_training_follows_from_its_log_ratios() -> None:
    (seen,) = pairs_of(run(pairs=[pair(2.0, start=-3.0)]))
    assert (seen.margin, seen.before, seen.after) == (2.0, -3.0, -1.0)
    without = pair(2.0)
    del without["logratios/chosen"]
    (seen,) = pairs_of(run(pairs=[without]))
    assert (seen.before, seen.after) == (None, 2.0)
    assert pairs_of(run(pairs=[{"label": True}, {"rewards/chosen": 1.0}, {"rewards/chosen": None}])) == []


def test_distributions_say_what_the_policy_preferred_before_training() -> None:
    rows = [pair(1.0, start=start) for start in (-1.0, 1.0, 2.0, 3.0)]
    source = "".join(distributions(run(pairs=rows)))
    assert "preferred the chosen completion in 75.0 %" in words([source])
    assert source.count("<figure>") == 3
    assert "reference</li>" in source


def test_without_a_reference_there_is_no_beginning() -> None:
    rows = [{key: each for key, each in pair(1.0).items() if "logratios" not in key}] * 3
    source = "".join(distributions(run(pairs=rows)))
    assert "Without a reference" in source
    assert "reference</li>" not in source


def test_labelled_completions_are_drawn_by_their_label() -> None:
    rows = [{"label": label, "tokens": 5, "rewards": 1.0 * label, "logratios": 2.0 * label} for label in (True, False)]
    labelled = run(pairs=rows * 5)
    source = "".join(distributions(labelled))
    assert "10 held-out completions" in words([source])
    assert (source.count("<figure>"), source.count("undesirable</li>")) == (2, 2)
    assert "".join(lengths(labelled)).count("<figure>") == 1
    assert "needs pairs" in words(calibration_of(labelled))
    assert "there are none" in words(accuracy(labelled))


def test_other_examples_and_none_at_all_are_said() -> None:
    lists = run(pairs=[{"pair_id": 1, "loss": 0.3}])
    assert "neither rewards of pairs nor of labelled" in words(distributions(lists))
    assert "no rewards with lengths" in words(lengths(lists))
    assert "no whole validation" in words(distributions(run()))


def test_a_reward_that_follows_length_says_so() -> None:
    rows = [pair(count / 10, tokens=(10 + count, 10)) for count in range(-9, 10)]
    source = "".join(lengths(run(pairs=rows)))
    assert "+1.00" in words([source])
    assert "mean of an eighth" in source
    assert "does not vary" in words(lengths(run(pairs=[pair(1.0)] * 9)))


def test_accuracy_is_counted_in_groups_and_ties_count_half_as_in_the_metric() -> None:
    rows = [pair(1.0, source="a", tokens=(20, 10))] * 6 + [pair(-1.0, source="b", tokens=(10, 20))] * 3 + [pair(0.0)]
    source = "".join(accuracy(run(pairs=rows)))
    said = words([source])
    assert "1 of 10 pairs have equal rewards" in said
    ends = [torch.tensor([row[f"rewards/{side}"] for row in rows]) for side in ("chosen", "rejected")]
    share, mean = 100 * float(is_greater(*ends).mean()), float((ends[0] - ends[1]).mean())
    assert (share, mean) == pytest.approx((65, 0.3))
    assert re.search(rf"all 10 {share:.1f} % \(\d+\.\d–\d+\.\d\) {mean:.1f}", said)
    assert re.search(r"source a 6 100\.0 %", said)
    assert re.search(r"source b 3 0\.0 %", said)
    assert re.search(r"chosen is the longer one 6 100\.0 %", said)
    assert re.search(r"chosen is the shorter one 3 0\.0 %", said)


def test_an_untrained_policy_is_a_guess() -> None:
    assert re.search(r"all 9 50\.0 %", words(accuracy(run(pairs=[pair(0.0)] * 9))))


def test_names_of_sources_are_texts_and_few_of_many_are_listed() -> None:
    rows = [pair(1.0, source=f"<b>{number}\u202e") for number in range(500)]
    source = "".join(accuracy(run(pairs=rows)))
    assert "<b>" not in source
    assert "\u202e" not in source
    assert source.count("source <bdi>") == 20


def test_calibration_compares_what_is_predicted_with_what_is_seen() -> None:
    rows = [pair(2.0)] * 88 + [pair(-2.0)] * 12  # sigmoid(2) = 0.881
    source = "".join(calibration_of(run(pairs=rows)))
    assert re.search(r"diagonal: 0\.1 points", words([source]))
    assert "<figure>" in source
    assert "eight at least" in words(calibration_of(run(pairs=rows[:3])))


@pytest.mark.parametrize("value", [1e300, -1e300, float("nan"), float("inf"), 10**400])
def test_strange_numbers_are_drawn_or_left_out(value) -> None:
    rows = [pair(1.0)] * 9 + [pair(0.0, **{"rewards/chosen": value, "logps/chosen": value})]
    seen = run(pairs=rows)
    source = "".join([*distributions(seen), *lengths(seen), *calibration_of(seen), *accuracy(seen)])
    assert not re.search(r"[\" ](nan|inf)", source)
