"""Comparisons, as a training step makes them: an objective's scores out of a batch, their means and its predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective, Compares, Objective, Reads, UnpairedObjective
from dpo_lightning.losses.scores import ChosenScores, PairScores, TokenScores, UnpairedScores
from dpo_lightning.losses.undeclared import with_inputs
from dpo_lightning.losses.unread import require_declared_reference
from dpo_lightning.losses.wrapped import require_complete
from dpo_lightning.training.comparison import Comparison, PairLosses
from dpo_lightning.training.lists import Lists
from dpo_lightning.training.metrics import (
    ChosenMean,
    PairMean,
    UnpairedMean,
    chosen_metrics,
    pair_metrics,
    unpaired_metrics,
)
from dpo_lightning.utils.arguments import wrong_kind


class Pairs(Comparison[PairScores]):
    """A chosen and a rejected completion of each prompt."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def scores(self, batch: PreferenceBatch, tokens: TokenScores) -> PairScores:
        """Sum over both completions."""
        _require_pairs(self._objective, batch, {2})
        columns = {
            name: values.view(2, -1) if len(values) > batch.examples else values
            for name, values in batch.columns.items()
        }
        return PairScores.from_tokens(tokens, columns)

    def logratios(self, scores: PairScores) -> Float[Tensor, " C"]:
        """Return those of `C` = 2P completions."""
        return torch.cat([scores.chosen_logratio, scores.rejected_logratio])

    def means(self) -> PairMean:
        """Make a metric over pairs."""
        return PairMean(has_reference=Reads.REFERENCE in self._objective.reads)

    def watched(self, scores: PairScores, losses: Float[Tensor, " P"]) -> Mapping[str, Tensor]:
        """Return `pair_metrics`."""
        has_reference = Reads.REFERENCE in self._objective.reads
        return pair_metrics(scores, self._rewards(scores), losses, has_reference=has_reference)

    def predicted(self, batch: PreferenceBatch, scores: PairScores) -> dict[str, Tensor]:
        """Return rows, rewards and margin."""
        chosen, rejected = self._rewards(scores)
        return {"pair_id": batch.row_ids, "chosen": chosen, "rejected": rejected, "margin": chosen - rejected}

    def _rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        rewards, shape = with_inputs(self._objective.rewards, scores), scores.policy_chosen_logps.shape
        if isinstance(rewards, tuple | list) and [getattr(each, "shape", None) for each in rewards] == [shape] * 2:
            return rewards[0], rewards[1]
        raise InputError(
            f"objective {type(self._objective).__name__}: rewards returns no pair of tensors of shape {[*shape]}: "
            "return the rewards of the chosen and of the rejected completions, one for each pair"
        )


class Chosen(Comparison[ChosenScores | PairScores]):
    """The chosen completion of each prompt alone, or whole pairs where the batch has them, as in validation."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._pairs = Pairs(objective)

    def scores(self, batch: PreferenceBatch, tokens: TokenScores) -> ChosenScores | PairScores:
        """Sum over the completions that the batch has."""
        if 1 not in batch.completions:
            return self._pairs.scores(batch, tokens)
        _require_pairs(self._objective, batch, {1})
        return ChosenScores.from_tokens(tokens, batch.columns)

    def logratios(self, scores: ChosenScores | PairScores) -> Float[Tensor, " C"]:
        """Return those of the chosen completions, `C` = P."""
        return scores.chosen_logratio

    def losses(
        self, pair_losses: PairLosses, batch: PreferenceBatch, scores: ChosenScores | PairScores
    ) -> Float[Tensor, " P"]:
        """Return the losses; a `pair_losses` that reads rejected completions says so in the module's `data_read`."""
        try:
            return super().losses(pair_losses, batch, scores)
        except AttributeError as error:
            if not isinstance(error.obj, ChosenScores) or error.name not in dir(PairScores):
                raise
            raise InputError(
                f"objective {type(self._objective).__name__} computes no rejected completion in training, and the loss "
                f"reads scores.{error.name}: return super().data_read()._replace(compares=Compares.PAIRS) from the "
                "module's data_read; an objective of your own that reads it derives from Objective"
            ) from error

    def means(self) -> ChosenMean:
        """Make a metric over pairs, or of what is known of their chosen completions."""
        return ChosenMean()

    def watched(self, scores: ChosenScores | PairScores, losses: Float[Tensor, " P"]) -> Mapping[str, Tensor]:
        """Return `chosen_metrics` where nothing else was computed, else `pair_metrics`."""
        if isinstance(scores, PairScores):
            return self._pairs.watched(scores, losses)
        has_reference = Reads.REFERENCE in self._objective.reads
        rewards = with_inputs(self._objective.chosen_rewards, scores)
        return chosen_metrics(scores, rewards, losses, has_reference=has_reference)

    def predicted(self, batch: PreferenceBatch, scores: ChosenScores | PairScores) -> dict[str, Tensor]:
        """Return rows and the rewards of the completions that the batch has."""
        if isinstance(scores, PairScores):
            return self._pairs.predicted(batch, scores)
        return {"pair_id": batch.row_ids, "chosen": with_inputs(self._objective.chosen_rewards, scores)}


class Labelled(Comparison[UnpairedScores]):
    """Completions with a label, one or several of a prompt."""

    unit = "completion"

    def __init__(self, objective: UnpairedObjective) -> None:
        self._objective = objective

    def scores(self, batch: PreferenceBatch, tokens: TokenScores) -> UnpairedScores:
        """Sum over the completion, and over the other prompt's where that is read."""
        labels = self._labels(batch)
        mismatched = Reads.MISMATCHED in self._objective.reads
        if mismatched and (batch.mismatched < batch.examples or batch.has_empty_completion):
            raise InputError(
                f"objective {type(self._objective).__name__} reads completions of other prompts: give them as "
                "TokenizedExample.mismatched_ids, as a PreferenceDataModule with UnpairedFormat does"
            )
        columns = {name: _of_completions(batch, values) for name, values in batch.columns.items()}
        return UnpairedScores.from_tokens(tokens, labels, mismatched=mismatched, columns=columns)

    def size(self, batch: PreferenceBatch) -> int:
        """Return how many losses a batch has: one of each completion."""
        return sum(batch.completions)

    def logratios(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """Return those of all labelled completions."""
        return scores.logratio

    def means(self) -> UnpairedMean:
        """Make a metric over completions, by label."""
        return UnpairedMean()

    def watched(self, scores: UnpairedScores, losses: Float[Tensor, " P"]) -> Mapping[str, Tensor]:
        """Return `unpaired_metrics`."""
        objective = self._objective
        rewards, point = (with_inputs(read, scores) for read in (objective.rewards, objective.reference_point))
        has_reference = Reads.REFERENCE in self._objective.reads
        return unpaired_metrics(scores, rewards, point, losses, has_reference=has_reference)

    def predicted(self, batch: PreferenceBatch, scores: UnpairedScores) -> dict[str, Tensor]:
        """Return rows, rewards and labels."""
        rewards = with_inputs(self._objective.rewards, scores)
        return {"pair_id": _of_completions(batch, batch.row_ids), "reward": rewards, "desirable": scores.desirable}

    def _labels(self, batch: PreferenceBatch) -> Tensor:
        if batch.labels is None:
            name = type(self._objective).__name__
            raise InputError(f"objective {name} reads completions with a label: give TokenizedExample.labels")
        return batch.labels


def _of_completions(batch: PreferenceBatch, values: Tensor) -> Tensor:
    """Return values of examples `[P]` for each completion `[C]`; those of completions as they are."""
    completions = sum(batch.completions)
    return values if len(values) == completions else values[batch.example_of_sequence[:completions]]


def _require_pairs(objective: Objective, batch: PreferenceBatch, completions: set[int]) -> None:
    """Refuse a batch whose examples have labels, other numbers of completions, or a completion without tokens.

    Raises:
        InputError: naming what they have.
    """
    name = type(objective).__name__
    if batch.labels is not None:
        raise InputError(
            f"objective {name} reads pairs, and the batch has completions with a label: take KTO or "
            "UnpairedBCO, or make the examples with TokenizedExample.pair"
        )
    if {*batch.completions} != completions:
        found = ", ".join(map(str, sorted({*batch.completions})))
        raise InputError(
            f"objective {name} reads pairs, and the batch has prompts with {found} completions: give each the chosen "
            f"and the rejected one, as TokenizedExample.pair does, or write AllPairs({name}(...)) for lists with scores"
        )
    if batch.mismatched:
        raise InputError(f"objective {name} reads no completions of other prompts: leave mismatched_ids out")
    if batch.has_empty_completion:
        raise InputError("a completion of the batch has no tokens: leave such pairs out")


_COMPARISONS: Mapping[Compares, Callable[[Any], Comparison[Any]]] = {
    Compares.PAIRS: Pairs,
    Compares.CHOSEN: Chosen,
    Compares.LABELLED: Labelled,
    Compares.LISTS: Lists,
}


def comparison_of(objective: AnyObjective) -> Comparison[Any]:
    """Return the comparison that an objective says it makes.

    Raises:
        InputError: for what is no objective, and for one that does not say what it compares and reads, or that it
            reads the reference, or compares what another kind of objective does.
    """
    if not isinstance(objective, AnyObjective):
        remedy = "derive a frozen dataclass from Objective, whose docstring shows one"
        raise wrong_kind("objective", objective, AnyObjective, remedy)
    require_complete("objective", objective)
    require_declared_reference(objective)
    return _COMPARISONS[objective.compares](objective)
