"""Examples in pieces: what is trained on, what is not."""

from __future__ import annotations

import numpy as np
import pytest

from dpo_lightning.data.inspect.marked import Kind, marked, names_of, samples
from tests.data.inspect.common import clean_labelled, clean_rows, survey
from tests.helpers.tokenizers import CHATML, chat, turn


def test_by_default_all_of_the_completions_is_trained_on():
    rows = clean_rows(3)
    read = survey(rows)
    example = marked(read.train.examples[1], read)
    assert (example.row, example.prompt) == (1, (Kind.PROMPT, rows[1]["prompt"]))
    assert [name for name, _ in example.completions] == ["chosen", "rejected"]
    for (_, pieces), trained, side in zip(example.completions, example.trained, ("chosen", "rejected"), strict=True):
        assert pieces == [(Kind.SCORED, f"{rows[1][side]}</s>")]
        assert trained == len(rows[1][side]) + 1


def test_tokens_that_do_not_count_are_pieces_of_their_own():
    rows = [{"prompt": "a:", "chosen": "bcdef", "rejected": "gh"}]
    read = survey(rows)
    masks = [np.array([False, False, True, True, False, True]), np.array([False] * 3)]
    example = marked(read.train.examples[0]._replace(scored=masks), read)
    (_, chosen), (_, rejected) = example.completions
    assert chosen == [(Kind.UNSCORED, "bc"), (Kind.SCORED, "de"), (Kind.UNSCORED, "f"), (Kind.SCORED, "</s>")]
    assert rejected == [(Kind.UNSCORED, "gh</s>")]
    assert example.trained == [3, 0]


def test_long_texts_are_shortened_where_nobody_misses_them():
    row = {"prompt": "a" * 650 + "THE END", "chosen": "THE START" + "b" * 650, "rejected": "c"}
    read = survey([row], max_length=2000)
    example = marked(read.train.examples[0], read)
    assert example.prompt.text.startswith("[…] aaa")
    assert example.prompt.text.endswith("THE END")
    assert example.completions[0][1][0].text.startswith("THE START")
    assert example.completions[0][1][0].text.endswith(" […]")


@pytest.mark.parametrize("label", [True, False])
def test_labels_are_named(label):
    rows = [row for row in clean_labelled(6) if row["label"] is label]
    assert names_of(survey(rows).train.examples[0]) == ["desirable" if label else "undesirable"]


def test_labels_that_stand_twice_are_numbered():
    seen = survey(clean_rows(1)).train.examples[0]
    assert names_of(seen._replace(labels=[True, False])) == ["desirable", "undesirable"]
    assert names_of(seen._replace(labels=[True, False, True])) == ["desirable 1", "undesirable", "desirable 2"]


def test_turns_of_others_are_marked():
    row = {
        "prompt": [turn("user", "a")],
        "chosen": [turn("assistant", "one"), turn("user", "and?"), turn("assistant", "two")],
        "rejected": [turn("assistant", "three")],
    }
    read = survey([row], tokenizer=chat(CHATML))
    ((_, chosen), (_, rejected)) = marked(read.train.examples[0], read).completions
    assert [piece.kind for piece in chosen] == [Kind.SCORED, Kind.UNSCORED, Kind.SCORED]
    assert "and?" in chosen[1].text
    assert [piece.kind for piece in rejected] == [Kind.SCORED]


def test_lists_are_numbered():
    seen = survey(clean_rows(1)).train.examples[0]
    assert names_of(seen._replace(completion_ids=[*seen.completion_ids, seen.completion_ids[0]])) == [
        "completion 1",
        "completion 2",
        "completion 3",
    ]


def test_samples_are_trained_on_and_the_same_for_a_seed():
    rows = clean_rows(50)
    for row in rows[::2]:
        row["chosen"] = ""
    picked = samples(survey(rows))
    assert len(picked) == 5
    assert all(each.row % 2 for each in picked)
    assert [each.row for each in picked] == sorted(each.row for each in picked)
    assert [each.row for each in samples(survey(rows))] == [each.row for each in picked]
    assert [each.row for each in samples(survey(rows, seed=1))] != [each.row for each in picked]
