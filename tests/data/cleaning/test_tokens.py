"""Examples as arrays: read from a table, joined, and the keys by which they are compared."""

from __future__ import annotations

from datasets import Dataset

from dpo_lightning.data.cleaning import ExampleTokens
from tests.data.cleaning.common import pairs, tokens
from tests.data.common import ready

PLAIN = ([1, 2], [3], [4, 5])


def test_rows_are_read_as_they_stand():
    rows = ready().splits["train"]
    read = ExampleTokens.of_rows(rows)
    assert read.rows.tolist() == rows["row"][:]
    assert [read.prompts.one(each).tolist() for each in range(len(read))] == rows["prompt_ids"][:]
    flat = [ids for completions in rows["completion_ids"][:] for ids in completions]
    assert [read.completions.one(each).tolist() for each in range(read.completions.size)] == flat
    assert read.labels is None


def test_labels_and_selections_are_read():
    rows = Dataset.from_list(
        [
            {"row": n, "prompt_ids": [n], "completion_ids": [[n, n], [n]], "labels": [n % 2 == 0, n > 3]}
            for n in range(6)
        ]
    ).select([1, 4, 5])
    read = ExampleTokens.of_rows(rows)
    assert read.rows.tolist() == [1, 4, 5]
    assert read.labels is not None
    assert read.labels.tolist() == [False, False, True, True, False, True]
    assert read.completions.one(2).tolist() == [4, 4]


def test_joined_is_one_after_the_other():
    joined = ExampleTokens.joined([pairs(PLAIN), pairs(([9], [8, 7], [6]), PLAIN)])
    assert len(joined) == 3
    assert joined.prompts.one(1).tolist() == [9]
    assert joined.completions.one(2).tolist() == [8, 7]
    assert joined.starts.tolist() == [0, 2, 4, 6]
    assert joined.example_keys[0] == joined.example_keys[2] != joined.example_keys[1]


def test_keys_tell_prompt_sides_and_label():
    prompt, chosen, rejected = PLAIN
    keys = pairs(PLAIN, (prompt, rejected, chosen), ([2, 1], chosen, rejected), PLAIN).example_keys.tolist()
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3
    one = [(prompt, [chosen])]
    labelled = tokens(one * 3, [True, False, True]).example_keys.tolist()
    assert labelled[0] == labelled[2] != labelled[1]


def test_keys_tell_the_labels_of_each_completion():
    one = [([1, 2], [[3], [4]])]
    keys = tokens(one * 4, [True, False, False, True, True, True, True, False]).example_keys.tolist()
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3


def test_pairs_beside_labelled_completions_are_a_desirable_and_an_undesirable_one():
    joined = ExampleTokens.joined([tokens([([1], [[2]])], [False]), pairs(PLAIN)])
    assert joined.labels is not None
    assert joined.labels.tolist() == [False, True, False]


def test_an_answer_is_a_completion_with_its_prompt():
    prompt, chosen, _ = PLAIN
    found = pairs(PLAIN, (prompt, [7], chosen), ([8], chosen, [7])).answers.tolist()
    assert found[0] == found[3], "the same completion of the same prompt"
    assert len(set(found)) == 5
