"""Training rows that are never all known: read, shuffled and tokenised as they come."""

from dpo_lightning.data.streaming.loader import StreamLoader
from dpo_lightning.data.streaming.stream import TrainingStream

__all__ = ["StreamLoader", "TrainingStream"]
