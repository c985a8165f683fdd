"""Log-probs of examples under a model, before it is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dpo_lightning.data.inspect.survey import Seen


class ScoredExample(NamedTuple):
    """An example with the model's log-probs.

    Attributes:
        seen: The example.
        logps: Summed log-prob of each completion, nats.
    """

    seen: Seen
    logps: Sequence[float]

    @property
    def per_token(self) -> list[float]:
        """Mean log-prob of the tokens of each completion, nats."""
        return [logp / max(len(ids), 1) for logp, ids in zip(self.logps, self.seen.completion_ids, strict=True)]

    @property
    def loss(self) -> float:
        """Nats that are lost on it: of a pair -log sigmoid(log p(chosen) - log p(rejected)), else a token's mean."""
        if len(self.logps) < 2:
            return -self.per_token[0]
        return float(np.logaddexp(0.0, self.logps[-1] - self.logps[0]))


class ModelScores(NamedTuple):
    """Log-probs of a sample of training examples.

    Attributes:
        model: Name of the model.
        examples: What was scored.
    """

    model: str
    examples: Sequence[ScoredExample]

    @property
    def pairs(self) -> list[ScoredExample]:
        """Examples with more than one completion."""
        return [each for each in self.examples if len(each.logps) > 1]

    @property
    def accuracy(self) -> float | None:
        """Share of pairs whose chosen completion is the more likely one; None without pairs."""
        return _share([each.logps[0] > each.logps[-1] for each in self.pairs])

    @property
    def accuracy_per_token(self) -> float | None:
        """The same by the mean over tokens, in which a short completion has no advantage."""
        return _share([each.per_token[0] > each.per_token[-1] for each in self.pairs])

    @property
    def nats(self) -> tuple[float, float]:
        """Mean log-prob of a token, of chosen or desirable completions and of the others; NaN where there are none."""
        good = [each.per_token[0] for each in self.examples if each.seen.label is not False]
        bad = [each.per_token[-1] for each in self.examples if each.seen.label is not True]
        if not self.pairs:
            bad = [each.per_token[0] for each in self.examples if each.seen.label is False]
        return _mean(good), _mean(bad)

    def largest(self, count: int = 5) -> list[ScoredExample]:
        """Return the examples with the largest loss."""
        return sorted(self.examples, key=lambda each: -each.loss)[:count]


def _share(holds: Sequence[bool]) -> float | None:
    return sum(holds) / len(holds) if holds else None


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
