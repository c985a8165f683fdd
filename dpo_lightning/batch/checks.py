"""Examples that are no batch: what they lack is named here, with the row, before anything is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from dpo_lightning.batch.columns import Holds, checked_value
from dpo_lightning.batch.rows import ExampleRows, bare
from dpo_lightning.batch.types import TokenizedExample
from dpo_lightning.errors import InputError

_ROWS = 2**63  # what 64 bits hold


def check_examples(examples: Sequence[TokenizedExample]) -> None:
    """Check that a batch can be made of the examples.

    Raises:
        InputError: for no example, for what is no list of examples, such as an iterator, for one without a prompt or
            completions, for token ids that are no lists, for a value that does not fit its column or other than one
            label of each completion, naming the row, and where some examples have a label or a column, and others none.
    """
    _check_list(examples)
    if isinstance(examples, ExampleRows) and examples.are_whole and examples.says_nothing:
        return
    if not (isinstance(examples, ExampleRows) and examples.are_whole):
        for each in examples:
            _check_tokens(each)
    examples = bare(examples)
    _check_all_or_none("label", [each.labels is not None for each in examples])
    for each in examples:
        _check_labels(each)
    for name in dict.fromkeys(name for each in examples for name in each.columns):
        _check_all_or_none(name, [name in each.columns for each in examples])
        holds = Holds.of(examples[0].columns[name])
        for each in examples:
            place = f"row {each.place} (from 0), column `{name}`"
            checked_value(each.columns[name], holds, len(each.completion_ids), place)


def _check_list(examples: object) -> None:
    if isinstance(examples, TokenizedExample) or not hasattr(examples, "__getitem__"):
        raise InputError(f"a batch is made of a list of examples: got a {type(examples).__name__}")
    if not examples:
        raise InputError("a batch of no examples: give one or more")


def _check_tokens(example: TokenizedExample) -> None:
    if not isinstance(example, TokenizedExample):
        raise InputError(f"a batch is made of TokenizedExample: got a {type(example).__name__} among them")
    is_number = isinstance(example.row, Integral) and not isinstance(example.row, bool)
    if not (is_number and -_ROWS <= example.row < _ROWS):
        raise InputError(f"TokenizedExample.row is {example.row!r:.40}: give the number of the row, from 0")
    whole = [example.prompt_ids, example.mismatched_ids, example.completion_ids]
    if not (_are_lists(whole) and _are_lists(example.completion_ids)):
        _refuse_ids(example)
    if example.scored or example.mismatched_scored:
        _check_scored(example)
    if not example.prompt_ids:
        raise InputError(
            f"row {example.place} (from 0): the prompt has no tokens, and its last one predicts the first token of a "
            "completion: begin it with a BOS token"
        )
    if not example.completion_ids:
        raise InputError(f"row {example.place} (from 0): the prompt has no completion: give one or more")


def _are_lists(values: Sequence[object]) -> bool:
    return all([isinstance(each, list | tuple) for each in values])  # noqa: C419 - a list is half the time


def _refuse_ids(example: TokenizedExample) -> None:
    _check_ids(example.place, "prompt_ids", example.prompt_ids)
    _check_ids(example.place, "mismatched_ids", example.mismatched_ids)
    _check_ids(example.place, "completion_ids", example.completion_ids, "a list with a list of int of each completion")
    for number, ids in enumerate(example.completion_ids):
        _check_ids(example.place, f"completion_ids, completion {number} (from 0)", ids)


def _check_scored(example: TokenizedExample) -> None:
    masks = example.scored or [[]] * len(example.completion_ids)
    found = [*map(len, masks)]
    wanted = [len(ids) if mask else 0 for ids, mask in zip(example.completion_ids, masks, strict=False)]
    if (
        len(masks) != len(example.completion_ids)
        or found != wanted
        or len(example.mismatched_scored) not in (0, len(example.mismatched_ids))
    ):
        raise InputError(
            f"row {example.place} (from 0): scored: it must say of each token of each completion whether it counts"
        )
    for number, mask in enumerate([*masks, example.mismatched_scored]):
        if mask and not any(mask):
            raise InputError(
                f"row {example.place} (from 0): no token of completion {number} (from 0) counts: leave the example out"
            )


def _check_labels(example: TokenizedExample) -> None:
    labels, completions = example.labels, len(example.completion_ids)
    if labels is None:
        return
    if not isinstance(labels, list | tuple):
        raise InputError(
            f"row {example.place} (from 0): labels is {labels!r:.40}: give a list, with one of each completion"
        )
    if len(labels) != completions:
        raise InputError(f"row {example.place} (from 0): {len(labels)} labels for {completions} completions")
    for label in labels:
        if label not in (True, False):
            raise InputError(f"row {example.place} (from 0): the label {label!r:.40} is neither True nor False")


def _check_ids(row: str, name: str, ids: object, wanted: str = "a list of int") -> None:
    if not isinstance(ids, list | tuple):
        raise InputError(
            f"row {row} (from 0): {name}: {type(ids).__name__}, not {wanted}: of a tensor or an array give `.tolist()`"
        )


def _check_all_or_none(name: str, there: Sequence[bool]) -> None:
    if any(there) and not all(there):
        raise InputError(f"some rows of the batch have a {name}, others none")
