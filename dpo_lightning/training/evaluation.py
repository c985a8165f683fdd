"""The steps of a run's module over the batches of its stages, and the hooks of validation, test and prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Optional

import lightning.pytorch as pl
from jaxtyping import Float
from torch import Tensor

from dpo_lightning.batch import PreferenceBatch, preference_batch_by, preference_batch_in
from dpo_lightning.compat.lightning_loops import evaluated_loaders
from dpo_lightning.errors import InputError
from dpo_lightning.training.comparison import Comparison
from dpo_lightning.training.example_values import example_values
from dpo_lightning.training.logging import log_means
from dpo_lightning.training.set_means import SetMeans
from dpo_lightning.utils.set_names import names_of_sets


class EvaluationHooks(pl.LightningModule):
    """The part of a run's module that Lightning calls in validation, test and prediction.

    Attributes:
        comparison: How examples are scored, watched and predicted.
        eval_metrics: Means of the stage, over all examples and over those of each set.
        found_batch: See `PreferenceRun`.
        predicted_scores: See `PreferenceRun`.
    """

    comparison: Comparison[Any]
    eval_metrics: SetMeans
    found_batch: tuple[Any, PreferenceBatch | None] | None = None
    predicted_scores: tuple[PreferenceBatch, Any] | None = None

    @abstractmethod
    def score(self, batch: PreferenceBatch) -> Any:
        """Return the scores of a batch under policy and reference."""

    @abstractmethod
    def with_baseline(self, scores: Any, *, moves: bool = False) -> Any:
        """Return the scores with the means over ranks and batches that the objective reads."""

    @abstractmethod
    def pair_losses(self, batch: PreferenceBatch, scores: Any) -> Tensor:
        """Return the loss of each example."""

    @abstractmethod
    def balanced(self, losses: Tensor) -> Tensor:
        """Return the losses with what keeps a model's experts in use."""

    def preference_batch(self, batch: Any) -> PreferenceBatch | None:
        """Return the preference batch in what a loader yields, or None: then the run's checks leave the batch alone.

        It is the batch itself, or the one in the dict, list or tuple of a `CombinedLoader`. Override it for batches of
        another kind, or with two of them.

        Raises:
            InputError: for two of them.
        """
        return preference_batch_in(batch)

    def own_batch(self, batch: Any, step: str) -> PreferenceBatch:
        """Return the preference batch that a step works on.

        Raises:
            InputError: where there is none.
        """
        found = preference_batch_by(self.preference_batch, batch)
        if found is not batch:
            self.found_batch = batch, found
        if found is None:
            keys = f" of {', '.join(map(str, batch))}" if isinstance(batch, dict) else ""
            raise InputError(
                f"{step} was given a {type(batch).__name__}{keys} without a preference batch: leave such batches to a "
                f"{step} of your own, or say in preference_batch(batch) where it is"
            )
        return found

    def compared(
        self, batch: PreferenceBatch, add: Callable[[Any], None], *, moves: bool = False
    ) -> Float[Tensor, " P"]:
        """Return the loss of each example, and hand what is watched of the batch to a metric."""
        scores: Any = self.with_baseline(self.score(batch), moves=moves)
        losses = self.balanced(self.comparison.losses(self.pair_losses, batch, scores))
        add(self.comparison.watched(scores, losses))
        return losses

    def lacks_a_reference(self, batch: PreferenceBatch) -> bool:
        """Return whether losses are NaN for the one reason that they read a reference which nobody has said to read."""
        scores: Any = self.with_baseline(self.score(batch))
        losses, alike = (self.pair_losses(batch, each) for each in (scores, scores.without_difference()))
        return bool(losses.isnan().all() and alike.isfinite().all())

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Optional[Mapping[str, Tensor]]:
        """Add the batch to the means of the stage, validation or test, and of its set.

        Returns:
            The values of each example, for callbacks: see `example_values`. A step of your own may return none.
        """
        own = self.own_batch(batch, "validation_step")
        watched: dict[str, Tensor] = {}
        self.compared(own, watched.update)
        self.eval_metrics.update(watched, dataloader_idx)
        return example_values(own, watched)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Optional[Mapping[str, Tensor]]:
        """Add the batch to the means of the stage and of its set; return what `validation_step` returns."""
        return self.validation_step(batch, batch_idx, dataloader_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Return ids, rewards and margin of pairs, each `[P]`; of labelled completions ids, rewards and labels."""
        own = self.own_batch(batch, "predict_step")
        scores = self.score(own)
        self.predicted_scores = own, scores
        return self.comparison.predicted(own, scores)

    def on_validation_epoch_start(self) -> None:
        """Leave out what a stage that was interrupted has added, and name the sets of this one."""
        self.eval_metrics.begin(names_of_sets(*evaluated_loaders(self.trainer)))

    def on_test_epoch_start(self) -> None:
        """Name the sets of the stage."""
        self.eval_metrics.begin(names_of_sets(*evaluated_loaders(self.trainer)))

    def on_validation_epoch_end(self) -> None:
        """Log the validation means."""
        log_means(self, self.eval_metrics, "val")

    def on_test_epoch_end(self) -> None:
        """Log the test means."""
        log_means(self, self.eval_metrics, "test")
