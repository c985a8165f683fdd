"""Inputs that a loss reads although nothing has said so: found where it fails for want of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from dpo_lightning.batch import COLUMNS
from dpo_lightning.errors import InputError
from dpo_lightning.losses.base import Reads
from dpo_lightning.losses.scores import Baseline

T = TypeVar("T")


def with_inputs(read: Callable[[Any], T], scores: Any) -> T:
    """Return what is read of scores; what fails for want of an input that nobody has said to read says which.

    Where it fails, it is called again with made-up values of the inputs that the scores lack: the input is the one
    without which it still fails. A column cannot be asked for earlier, since a module's `data_read` may add it.

    Args:
        read: A loss, rewards or an observation, of scores.
        scores: The scores of a batch.

    Raises:
        InputError: naming the input, and what to add to `reads`.
    """
    try:
        return read(scores)
    except InputError:
        raise
    except Exception as error:
        remedy = _remedy(read, scores, error)
        if remedy is None:
            raise
        raise InputError(remedy) from error


class _Columns(dict[str, Any]):
    """Columns that have every name, and know which of them were made up."""

    def __init__(self, given: Any, like: Tensor) -> None:
        super().__init__(given)
        self._like, self.made_up = like, set[str]()

    def __contains__(self, name: object) -> bool:
        if not super().__contains__(name):
            self[str(name)]
        return True

    def __missing__(self, name: str) -> Tensor:
        self.made_up.add(name)
        return torch.full_like(self._like, 0.5)


def _remedy(read: Callable[[Any], Any], scores: Any, error: Exception) -> str | None:
    made = _made_up(scores)
    columns = _Columns(scores.columns, scores[0].detach())
    failed = _fails(read, made(*_INPUTS)._replace(columns=columns))
    if columns.made_up and (not failed or (isinstance(error, KeyError) and error.args[0] in columns.made_up)):
        return _of_column(min(columns.made_up))
    needed = [] if failed else [name for name in _INPUTS if _fails(read, made(*(_INPUTS.keys() - {name})))]
    return f"the loss or its rewards read {_INPUTS[needed[0]]}" if needed else None


_INPUTS = {
    "baseline": "scores.baseline, which is there for an objective alone that says so: add Reads.BASELINE to its reads, "
    "and implement observe",
    "log_collisions": "scores.tokens.log_collisions, which are computed where somebody says so: add Reads.COLLISIONS "
    "to the objective's reads",
    "mismatched": "completions of other prompts, which are computed where somebody says so: add Reads.MISMATCHED to "
    "the objective's reads",
}


def _of_column(name: str) -> str:
    flag = f"Reads.{name.upper()} to the objective's reads"
    if name not in COLUMNS or name.upper() not in Reads.__members__:
        flag = f'reads_columns = frozenset({{"{name}"}}) to the objective'
    return (
        f"the loss or its rewards read the column `{name}`, which the batch does not have: add {flag}, or for a "
        "pair_losses of your own to the module's data_read; a loader of your own gives it as TokenizedExample.columns"
    )


def _made_up(scores: Any) -> Callable[..., Any]:
    """Return a function that fills, by their names, those of the inputs that the scores lack."""
    zeros = torch.zeros_like(scores[0].detach())

    def filled(*names: str) -> Any:
        given: dict[str, Any] = {}
        if "baseline" in names and scores.baseline is None:
            given["baseline"] = Baseline(zeros.sum(), zeros.sum())
        if "log_collisions" in names and scores.tokens is not None and scores.tokens.log_collisions is None:
            collisions = -torch.ones_like(scores.tokens.policy_logps.detach())
            given["tokens"] = scores.tokens._replace(log_collisions=collisions)
        if "mismatched" in names and getattr(scores, "policy_mismatched_logps", zeros) is None:
            given["policy_mismatched_logps"] = given["reference_mismatched_logps"] = zeros
        return scores._replace(**given)

    return filled


def _fails(read: Callable[[Any], Any], scores: Any) -> bool:
    try:
        read(scores)
    except Exception:
        return True
    return False
