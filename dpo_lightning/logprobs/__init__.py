"""Token log-probs: the head on the positions that count, in chunks, in float32."""

from dpo_lightning.logprobs.head import TokenStatistics, chunked_logps, logps_from_logits
from dpo_lightning.logprobs.scorer import TokenScorer, sequence_logps

__all__ = ["TokenScorer", "TokenStatistics", "chunked_logps", "logps_from_logits", "sequence_logps"]
