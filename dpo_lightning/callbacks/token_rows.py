"""Rows of a file of rewards that have the tokens of a completion, and the credit of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.errors import InputError
from dpo_lightning.run import PreferenceRun, scores_of
from dpo_lightning.training.credit import Credit, completion_rewards, token_credit

_PAIR = ("chosen", "rejected", "margin")
_CLOSE = 1e-3
"""Rounding of a reward in half precision, as a share of the terms of its sum."""


def token_types() -> dict[str, Any]:
    """Return the types of the columns that a value of each token is in."""
    import pyarrow as pa

    numbers = dict.fromkeys(("policy_logps", "reference_logps", "credit"), pa.list_(pa.float32()))
    return {"token_ids": pa.list_(pa.int32()), "tokens": pa.list_(pa.string()), **numbers}


def token_rows(
    run: PreferenceRun, batch: PreferenceBatch, outputs: Mapping[str, Tensor], tokenizer: Any
) -> list[dict[str, Any]]:
    """Return a row for each completion, those of a prompt behind each other.

    Args:
        run: The module that has predicted the batch.
        batch: The batch.
        outputs: What it has predicted.
        tokenizer: Decodes the tokens; None leaves their texts out.

    Returns:
        Rows with `pair_id`, `completion` (the place in the row, of a pair 0 is the chosen one), `reward`, other columns
        of the prediction, and lists with a value of each scored token.

    Raises:
        InputError: where the objective's reward is no sum over tokens, and where the prediction is of something else.
    """
    name = type(run.objective).__name__
    scores = scores_of(run, batch)
    tokens = getattr(scores, "tokens", None)
    found = tokens and token_credit(run.comparison, batch, tokens, has_reference=run.reads_reference)
    if found is None:
        raise InputError(
            f"WriteRewards.tokens: the reward of {name} is no sum over the tokens of a completion, so that no token "
            "has a share of it: leave tokens out"
        )
    _check_same(outputs, found)
    of = batch.example_of_sequence[: len(found.lengths)].tolist()
    columns = _of_completions(outputs, batch, of)
    stops = [0, *accumulate(found.lengths)]
    lists = {"policy_logps": found.policy_logps, "reference_logps": found.reference_logps, "credit": found.shares}
    if not run.reads_reference:
        del lists["reference_logps"]
    rows = []
    for place in sorted(range(len(of)), key=of.__getitem__):
        part = slice(stops[place], stops[place + 1])
        ids = found.token_ids[part]
        texts = {} if tokenizer is None else {"tokens": token_texts(tokenizer, ids)}
        own = {each: values[place] for each, values in columns.items()}
        rows.append({**own, "token_ids": ids, **texts, **{each: _floats(lists[each][part]) for each in lists}})
    return rows


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Return the text that each token adds to those before it; of several that make one character, the last has it."""
    texts: list[str] = []
    start = done = 0
    for end in range(1, len(ids) + 1):
        before, whole = (_decoded(tokenizer, ids[start:stop]) for stop in (done, end))
        is_part = whole.endswith("\ufffd") and end < len(ids) and end - done < 4  # bytes of a character in UTF-8
        texts.append("" if is_part else whole[len(before) :])
        if not is_part:
            start, done = done, end
    return texts


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False) if ids else ""


def _floats(values: Tensor) -> list[float]:
    return values.float().tolist()


def _check_same(outputs: Mapping[str, Tensor], found: Credit) -> None:
    """Refuse predictions that are not the objective's rewards, such as those of a `predict_step` of one's own."""
    given = completion_rewards(outputs) if {"reward", "chosen"} & {*outputs} else None
    if given is not None and given.shape == found.rewards.shape:
        sequence = torch.arange(len(found.lengths)).repeat_interleave(torch.tensor(found.lengths))
        size = found.rewards.new_zeros(len(found.lengths)).index_add(0, sequence, found.shares.abs())
        given = given.detach().cpu().double()
        if (
            torch.isclose(given, found.rewards, rtol=0, atol=1e-6, equal_nan=True)
            .logical_or((given - found.rewards).abs() <= _CLOSE * size)
            .all()
        ):
            return
    raise InputError(
        "WriteRewards.tokens: the predictions are not the rewards of the module's objective, so that the tokens would "
        "not sum to them: leave tokens out, or return those of super().predict_step"
    )


def _of_completions(
    outputs: Mapping[str, Tensor], batch: PreferenceBatch, of: Sequence[int]
) -> dict[str, Sequence[Any]]:
    """Return the columns of a prediction for each completion; of a pair, its reward in place of both."""
    seen: dict[int, int] = {}
    places = []
    for example in of:
        places.append(seen.get(example, 0))
        seen[example] = places[-1] + 1
    columns: dict[str, Sequence[Any]] = {"pair_id": [], "completion": places}
    columns["reward"] = completion_rewards(outputs).tolist()
    others = {name: values.tolist() for name, values in outputs.items() if name not in (*_PAIR, *columns)}
    rows = outputs["pair_id"].tolist() if "pair_id" in outputs else batch.row_ids.tolist()
    for name, values in {"pair_id": rows, **others}.items():
        columns[name] = values if len(values) == len(of) else [values[example] for example in of]
    return columns


def rows_of_columns(outputs: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a prediction as they are."""
    columns = {name: values.tolist() for name, values in outputs.items()}
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))
