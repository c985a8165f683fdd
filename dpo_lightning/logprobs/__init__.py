"""Token log-probs: the head on the positions that count, in chunks, in float32."""

from dpo_lightning.logprobs.head import chunked_logps, logps_from_logits
from dpo_lightning.logprobs.scorer import TokenScorer, sequence_logps
from dpo_lightning.logprobs.statistics import Statistic, TokenLogps, statistics_read

__all__ = [
    "Statistic",
    "TokenLogps",
    "TokenScorer",
    "chunked_logps",
    "logps_from_logits",
    "sequence_logps",
    "statistics_read",
]
