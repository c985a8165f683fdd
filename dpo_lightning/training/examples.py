"""The two kinds of examples, pairs and single completions with a label: their scores, means and predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.batch import PairBatch
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective, Objective, Reads, UnpairedObjective
from dpo_lightning.losses.scores import PairScores, TokenScores, UnpairedScores
from dpo_lightning.training.metrics import PairMean, UnpairedMean, pair_metrics, unpaired_metrics


class Kind(ABC):
    """What an objective is trained on; scores are `PairScores` of the one and `UnpairedScores` of the other."""

    @abstractmethod
    def scores(self, batch: PairBatch, tokens: TokenScores) -> Any:
        """Sums over the completions of a batch, as the objective reads them.

        Raises:
            InputError: for a batch of the other kind.
        """

    @abstractmethod
    def logratios(self, scores: Any) -> Float[Tensor, " C"]:
        """Log-ratio, in nats, of each of the ``C`` completions that are trained on; of pairs, chosen ones first."""

    @abstractmethod
    def means(self) -> PairMean | UnpairedMean:
        """A new metric of what is watched."""

    @abstractmethod
    def watched(self, scores: Any, losses: Float[Tensor, " P"]) -> Mapping[str, Tensor]:
        """What such a metric takes of a batch, detached."""

    @abstractmethod
    def predicted(self, batch: PairBatch, scores: Any) -> dict[str, Tensor]:
        """What a prediction says of each row, each ``[P]``."""


class Pairs(Kind):
    """A chosen and a rejected completion of each prompt."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def scores(self, batch: PairBatch, tokens: TokenScores) -> PairScores:
        """Of both completions."""
        if batch.desirable is not None:
            name = type(self._objective).__name__
            raise InputError(f"objective {name} reads pairs, and the batch has single completions with a label")
        if batch.is_one_sided:
            raise InputError("a completion of the batch has no tokens: leave such pairs out")
        return PairScores.from_tokens(tokens, batch.columns.values())

    def logratios(self, scores: PairScores) -> Float[Tensor, " C"]:
        """``C`` = 2P."""
        return torch.cat([scores.chosen_logratio, scores.rejected_logratio])

    def means(self) -> PairMean:
        """Over pairs."""
        return PairMean()

    def watched(self, scores: PairScores, losses: Float[Tensor, " P"]) -> Mapping[str, Tensor]:
        """See :func:`~dpo_lightning.training.metrics.pair_metrics`."""
        return pair_metrics(scores, self._objective.rewards(scores), losses)

    def predicted(self, batch: PairBatch, scores: PairScores) -> dict[str, Tensor]:
        """Pair ids, rewards and margin."""
        chosen, rejected = self._objective.rewards(scores)
        return {"pair_id": batch.pair_ids, "chosen": chosen, "rejected": rejected, "margin": chosen - rejected}


class Completions(Kind):
    """Single completions with a label."""

    def __init__(self, objective: UnpairedObjective) -> None:
        self._objective = objective

    def scores(self, batch: PairBatch, tokens: TokenScores) -> UnpairedScores:
        """Of the completion, and of the other prompt's where that is read."""
        name = type(self._objective).__name__
        if batch.desirable is None:
            raise InputError(f"objective {name} reads single completions with a label: give TokenizedPair.desirable")
        mismatched = Reads.MISMATCHED in self._objective.reads
        if mismatched and batch.is_one_sided:
            raise InputError(
                f"objective {name} reads completions of other prompts: give them as TokenizedPair.rejected_ids, as a "
                "PreferenceDataModule with UnpairedFormat does"
            )
        return UnpairedScores.from_tokens(tokens, batch.desirable, mismatched=mismatched)

    def logratios(self, scores: UnpairedScores) -> Float[Tensor, " C"]:
        """``C`` = P."""
        return scores.logratio

    def means(self) -> UnpairedMean:
        """Over completions, by label."""
        return UnpairedMean()

    def watched(self, scores: UnpairedScores, losses: Float[Tensor, " P"]) -> Mapping[str, Tensor]:
        """See :func:`~dpo_lightning.training.metrics.unpaired_metrics`."""
        rewards, point = self._objective.rewards(scores), self._objective.reference_point(scores)
        return unpaired_metrics(scores, rewards, point, losses)

    def predicted(self, batch: PairBatch, scores: UnpairedScores) -> dict[str, Tensor]:
        """Row ids, rewards and labels."""
        assert batch.desirable is not None
        return {"pair_id": batch.pair_ids, "reward": self._objective.rewards(scores), "desirable": batch.desirable}


def kind_of(objective: AnyObjective) -> Kind:
    """The kind that an objective reads."""
    return Completions(objective) if isinstance(objective, UnpairedObjective) else Pairs(cast(Objective, objective))
