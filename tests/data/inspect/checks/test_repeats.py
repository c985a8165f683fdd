"""Planted repeats and contradictions, in a split and between splits."""

from __future__ import annotations

import numpy as np

from dpo_lightning.data.inspect import Severity
from dpo_lightning.data.inspect.checks.repeats import first_of_answers
from tests.data.cleaning.common import pairs
from tests.data.inspect.common import clean_labelled, clean_rows, findings, survey, survey_in_words


def near(row: dict) -> dict:
    return {**row, "chosen": row["chosen"] + "!"}


def test_duplicates():
    rows = clean_rows(200)
    found = findings(survey([*rows, rows[3], rows[3]]))
    assert (found["duplicates"].severity, found["duplicates"].rows) == (Severity.WARNING, {"train": [200, 201]})
    assert "near-duplicates" not in found


def test_near_duplicates():
    rows = clean_rows(200)
    found = findings(survey([*rows, near(rows[3])]))
    assert (found["near-duplicates"].severity, found["near-duplicates"].rows) == (Severity.INFO, {"train": [200]})
    assert "duplicates" not in found
    many = findings(survey([*rows, *map(near, rows[:3])]))["near-duplicates"]
    assert many.severity is Severity.WARNING


def test_other_white_space_and_capital_letters_are_near():
    rows = clean_rows(200)
    shouted = {name: f" {value.upper()}\n".replace(" ", "  ") for name, value in rows[3].items()}
    labelled = clean_labelled(200)
    other = {**labelled[3], "completion": labelled[3]["completion"].upper()}
    assert findings(survey([*rows, shouted]))["near-duplicates"].rows == {"train": [200]}
    assert findings(survey_in_words([*rows, shouted]))["near-duplicates"].rows == {"train": [200]}
    assert findings(survey(rows, [shouted]))["nearly contaminated"].rows == {"val": [0]}
    assert findings(survey([*labelled, other]))["near-duplicates"].rows == {"train": [200]}
    other["label"] = not other["label"]
    assert "near-duplicates" not in findings(survey([*labelled, other]))


def test_contradictory_pairs():
    rows = clean_rows(200)
    swapped = {"prompt": rows[3]["prompt"], "chosen": rows[3]["rejected"], "rejected": rows[3]["chosen"]}
    found = findings(survey([*rows, swapped]))["contradictory"]
    assert (found.severity, found.rows) == (Severity.WARNING, {"train": [3, 200]})


def test_contradictory_labels():
    rows = clean_labelled(100)
    found = findings(survey([*rows, {**rows[3], "label": not rows[3]["label"]}]))["contradictory"]
    assert found.rows == {"train": [3, 100]}


def test_contaminated_rows():
    rows, held_out = clean_rows(200), clean_rows(50, seed=1)
    held_out[4] = {**rows[3], "rejected": "another answer."}
    held_out[9] = near(rows[8])
    held_out[11] = {**held_out[11], "prompt": rows[12]["prompt"]}
    found = findings(survey(rows, held_out))
    # The rejected completion of the near one is the same.
    assert found["contaminated"].severity is Severity.WARNING
    assert found["contaminated"].rows == {"val": [4, 9]}
    assert "nearly contaminated" not in found
    assert found["shared prompts"].severity is Severity.INFO
    assert found["shared prompts"].rows == {"val": [4, 9, 11]}


def test_nearly_contaminated_rows():
    rows, held_out = clean_rows(200), clean_rows(50, seed=1)
    held_out[9] = near({**rows[8], "rejected": rows[8]["rejected"] + "!"})
    found = findings(survey(rows, held_out))
    assert (found["nearly contaminated"].severity, found["nearly contaminated"].rows) == (
        Severity.WARNING,
        {"val": [9]},
    )
    assert "contaminated" not in found


def test_a_share_that_is_held_out_divides_repeats():
    rows = clean_rows(200)
    twice = [*rows, {**rows[3], "rejected": "another answer."}]
    found = findings(survey(twice, held_out_share=0.1))["repeats that are held out"]
    assert (found.severity, found.rows) == (Severity.WARNING, {"train": [200]})
    assert "repeats that are held out" not in findings(survey(twice))
    assert "repeats that are held out" not in findings(survey(rows, held_out_share=0.1))


def test_the_first_of_those_that_share_an_answer():
    a, b, c = [1], [2], [3]
    examples = pairs((a, b, c), (c, b, a), (a, c, [9]), (c, [8], [7]), (a, [6], b))
    assert np.array_equal(first_of_answers(examples), [0, 1, 0, 3, 0])
