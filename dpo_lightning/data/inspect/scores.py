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
        """Mean log-prob of the tokens of each completion that count, nats."""
        counts = [max(int(each.sum()), 1) for each in self.seen.counts]
        return [logp / count for logp, count in zip(self.logps, counts, strict=True)]

    @property
    def loss(self) -> float:
        """Nats that are lost: -log sigmoid(log p(best) - log p(worst)), or a token's mean where all are of one kind."""
        if self.seen.sides is None:
            return -_mean(self.per_token)
        best, worst = self.seen.sides
        return float(np.logaddexp(0.0, self.logps[worst] - self.logps[best]))


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
        """Examples of which one completion is better than another."""
        return [each for each in self.examples if each.seen.sides is not None]

    @property
    def accuracy(self) -> float | None:
        """Share of pairs whose chosen completion is the more likely one, of lists the best; None without pairs."""
        return _share([_is_told(each, each.logps) for each in self.pairs])

    @property
    def accuracy_per_token(self) -> float | None:
        """The same by the mean over tokens, in which a short completion has no advantage."""
        return _share([_is_told(each, each.per_token) for each in self.pairs])

    @property
    def nats(self) -> tuple[float, float]:
        """Mean log-prob of a token, of chosen or desirable completions and of the others; NaN where there are none."""
        good = [each.per_token[number] for each in self.examples for number in each.seen.preferred]
        bad = [each.per_token[number] for each in self.examples for number in each.seen.others]
        return _mean(good), _mean(bad)

    def largest(self, count: int = 5) -> list[ScoredExample]:
        """Return the examples with the largest loss."""
        return sorted(self.examples, key=lambda each: -each.loss)[:count]


def _is_told(example: ScoredExample, values: Sequence[float]) -> bool:
    sides = example.seen.sides
    return sides is not None and values[sides[0]] > values[sides[1]]


def _share(holds: Sequence[bool]) -> float | None:
    return sum(holds) / len(holds) if holds else None


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
