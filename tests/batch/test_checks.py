"""Examples that are no batch: one line each, with the row."""

from __future__ import annotations

import math
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from dpo_lightning.batch import Collate, TokenizedExample, collate_padded, collate_tree, first_completions
from dpo_lightning.errors import InputError

THREE = TokenizedExample(4, [5, 6], [[7, 8], [9], [10, 11]], columns={"score": [0.7, 0.1, 0.4]})
TWO = TokenizedExample(7, [3, 4], [[12], [13, 14]], columns={"score": [1.0, 2.0]})
collates = pytest.mark.parametrize(
    "collate", [collate_padded, collate_tree, first_completions(collate_tree, 1)], ids=["padded", "tree", "first"]
)


def refused(collate: Collate, *examples: TokenizedExample) -> str:
    with pytest.raises(InputError) as raised:
        collate(examples)
    return str(raised.value)


@collates
def test_a_batch_has_examples_with_prompts_and_completions(collate: Collate) -> None:
    assert refused(collate) == "a batch of no examples: give one or more"
    for incomplete in (THREE._replace(completion_ids=[]), TokenizedExample(4, [5], [], [6])):
        assert refused(collate, TWO, incomplete) == "row 4 (from 0): the prompt has no completion: give one or more"
    assert refused(collate, TWO, THREE._replace(prompt_ids=[])) == (
        "row 4 (from 0): the prompt has no tokens, and its last one predicts the first token of a completion: begin it "
        "with a BOS token"
    )


@collates
def test_what_is_no_list_of_examples_is_refused(collate: Collate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no checked annotations
    for given, said in (
        (iter([TWO]), "a batch is made of a list of examples: got a list_iterator"),
        ((each for each in [TWO]), "a batch is made of a list of examples: got a generator"),
        (TWO, "a batch is made of a list of examples: got a TokenizedExample"),
        (None, "a batch is made of a list of examples: got a NoneType"),
        ([TWO, {"prompt": "a"}], "a batch is made of TokenizedExample: got a dict among them"),
    ):
        with pytest.raises(InputError) as raised:
            collate(given)  # type: ignore[arg-type]
        assert str(raised.value) == said


@collates
@pytest.mark.parametrize("array", [torch.tensor, np.array], ids=["torch", "numpy"])
def test_token_ids_are_lists(collate: Collate, array: Any) -> None:
    kind = type(array([1])).__name__
    for name, value, said in (
        ("prompt_ids", array([5, 6]), f"prompt_ids: {kind}, not a list of int"),
        ("mismatched_ids", array([5, 6]), f"mismatched_ids: {kind}, not a list of int"),
        ("completion_ids", [[7], array([5, 6])], f"completion_ids, completion 1 (from 0): {kind}, not a list of int"),
        (
            "completion_ids",
            array([[5, 6]]),
            f"completion_ids: {kind}, not a list with a list of int of each completion",
        ),
        ("prompt_ids", "ab", "prompt_ids: str, not a list of int"),
    ):
        bad = THREE._replace(**{name: value})
        assert refused(collate, THREE, bad) == f"row 4 (from 0): {said}: of a tensor or an array give `.tolist()`"


def test_rows_need_a_token() -> None:
    assert refused(collate_padded, TokenizedExample(4, [5], [[]])) == (
        "no completion of the batch has a token: leave such examples out"
    )


@collates
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([0.7, 0.1], ": 2 numbers for 3 completions"),
        ([0.7, 0.1, 0.4, 0.2], ": 4 numbers for 3 completions"),
        ([], ": 0 numbers for 3 completions"),
        ([0.7, None, 0.4], ", completion 1 (from 0): null, not a number"),
        ([0.7, 0.1, math.nan], ", completion 2 (from 0): nan is no finite number"),
        ([0.7, 0.1, math.inf], ", completion 2 (from 0): inf is no finite number"),
        ([0.7, "0.1", 0.4], ", completion 1 (from 0): str, not a number"),
        ([0.7, True, 0.4], ", completion 1 (from 0): bool, not a number"),
        (0.7, ": float, not a list with a number of each completion"),
        ("0.7", ": str, not a list with a number of each completion"),
        (None, ": null, not a list with a number of each completion"),
    ],
)
def test_a_list_has_a_number_of_each_completion(collate: Collate, value: Any, said: str) -> None:
    bad = THREE._replace(columns={"score": value})

    assert refused(collate, TWO, bad) == f"row 4 (from 0), column `score`{said}"


@collates
@pytest.mark.parametrize(
    ("first", "value", "said"),
    [
        (0.5, None, "null, not a number"),
        (0.5, math.nan, "nan is no finite number"),
        (0.5, [0.5, 0.5], "list, not a number"),
        (0.5, "0.5", "str, not a number"),
        ("web", 0.5, "float, not text"),
        ("web", None, "null, not text"),
    ],
)
def test_values_of_a_column_are_of_one_kind(collate: Collate, first: Any, value: Any, said: str) -> None:
    examples = (THREE._replace(columns={"own": first}), TWO._replace(columns={"own": value}))

    assert refused(collate, *examples) == f"row 7 (from 0), column `own`: {said}"


@collates
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (True, "labels is True: give a list, with one of each completion"),
        ([True], "1 labels for 3 completions"),
        ([True] * 4, "4 labels for 3 completions"),
    ],
)
def test_labels_are_one_of_each_completion(collate: Collate, labels: Any, said: str) -> None:
    bad = THREE._replace(labels=labels)
    assert refused(collate, THREE._replace(labels=[True, False, True]), bad) == f"row 4 (from 0): {said}"


@collates
@pytest.mark.parametrize("label", [0.5, "no", None])
def test_a_label_is_true_or_false(collate: Collate, label: Any) -> None:
    bad = THREE._replace(labels=[True, label, False])
    assert refused(collate, bad) == f"row 4 (from 0): the label {label!r} is neither True nor False"


def test_labels_of_other_types_are_booleans() -> None:
    labels = collate_tree([THREE._replace(labels=[1, np.bool_(False), 0])]).labels
    assert labels is not None
    assert (labels.dtype, labels.tolist()) == (torch.bool, [True, False, False])


@collates
@pytest.mark.parametrize("row", ["a", 2**70])
def test_a_row_is_a_number(collate: Collate, row: Any) -> None:
    said = f"TokenizedExample.row is {row!r}: give the number of the row, from 0"
    assert refused(collate, THREE._replace(row=row)) == said


@collates
@pytest.mark.parametrize("masks", [1, 2, 4])
def test_there_is_a_mask_of_each_completion(collate: Collate, masks: int) -> None:
    bad = THREE._replace(scored=[[True, True], [True], [True, True], []][:masks])
    said = "scored: it must say of each token of each completion whether it counts"
    assert refused(collate, TWO, bad) == f"row 4 (from 0): {said}"
