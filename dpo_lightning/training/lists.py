"""Lists of completions, as a training step compares them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.errors import InputError
from dpo_lightning.losses import ListObjective, Reads
from dpo_lightning.losses.scores import ListScores, TokenScores
from dpo_lightning.losses.undeclared import with_inputs
from dpo_lightning.training.comparison import Comparison
from dpo_lightning.training.list_metrics import ListMean, list_metrics

_RANKINGS = ("score", "quantile")
"""Columns that say how good a completion is; the first one that the data has ranks the list."""


class Lists(Comparison[ListScores]):
    """All completions of each prompt, two or more, as many as each prompt has."""

    def __init__(self, objective: ListObjective) -> None:
        self._objective = objective

    def scores(self, batch: PreferenceBatch, tokens: TokenScores) -> ListScores:
        """Sum over each completion."""
        _require_lists(type(self._objective).__name__, batch)
        return ListScores.from_tokens(tokens, batch.example_of_sequence, batch.completions, batch.columns)

    def logratios(self, scores: ListScores) -> Float[Tensor, " C"]:
        """Return those of all completions, in the order of sequences."""
        return scores.logratio

    def means(self) -> ListMean:
        """Make a metric over lists."""
        return ListMean()

    def watched(self, scores: ListScores, losses: Float[Tensor, " P"]) -> Mapping[str, Tensor]:
        """Return `list_metrics`."""
        ranking = next((scores.columns[name] for name in _RANKINGS if name in scores.columns), None)
        has_reference = Reads.REFERENCE in self._objective.reads
        return list_metrics(scores, self._rewards(scores), losses, ranking, has_reference=has_reference)

    def predicted(self, batch: PreferenceBatch, scores: ListScores) -> dict[str, Tensor]:
        """Return of each completion `[C]` its row, its place in it from 0, its reward, and how the data ranks it."""
        example, counts = scores.example_of_completion, batch.completions
        places = [k for k in range(max(counts)) for count in counts if k < count]
        ranked = {name: scores.columns[name] for name in _RANKINGS if name in scores.columns}
        return {
            "pair_id": batch.row_ids[example],
            "completion": torch.tensor(places).to(example.device, non_blocking=True),
            "reward": self._rewards(scores),
            **ranked,
        }

    def _rewards(self, scores: ListScores) -> Float[Tensor, " C"]:
        rewards, shape = with_inputs(self._objective.rewards, scores), scores.policy_logps.shape
        if getattr(rewards, "shape", None) == shape:
            return rewards
        raise InputError(
            f"objective {type(self._objective).__name__}: rewards returns no tensor of shape {[*shape]}: return the "
            "reward of each completion"
        )


def _require_lists(name: str, batch: PreferenceBatch) -> None:
    """Refuse a batch whose examples have labels, one completion, or a completion without tokens.

    Raises:
        InputError: naming what they have.
    """
    if batch.labels is not None:
        raise InputError(
            f"objective {name} reads lists of completions, and the batch has completions with a label: leave "
            "TokenizedExample.labels out, and give each completion a score in TokenizedExample.columns"
        )
    if min(batch.completions) < 2:
        raise InputError(
            f"objective {name} reads lists of two completions or more, and the batch has a prompt with one: leave such "
            "prompts out"
        )
    if batch.mismatched:
        raise InputError(f"objective {name} reads no completions of other prompts: leave mismatched_ids out")
    if batch.has_empty_completion:
        raise InputError("a completion of the batch has no tokens: leave such lists out")
