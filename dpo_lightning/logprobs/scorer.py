"""A model and a batch -> the log-prob of each scored token: the one path of policy and reference."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.attention import layout_inputs
from dpo_lightning.batch import PairBatch
from dpo_lightning.compat.torch import forward_replaced
from dpo_lightning.logprobs.head import (
    TokenStatistics,
    collisions_from_logits,
    logps_from_logits,
    logps_through,
    statistics_through,
    token_statistics,
)
from dpo_lightning.logprobs.transform import HeadProbe, probe_head

_PROBE_LENGTH = 8

Values = TypeVar("Values", bound=tuple[Any, ...])


class TokenScorer:
    """Scores the completion tokens of batches with a causal language model.

    The model runs through its own ``forward``, up to the head; the head then runs on the positions that predict a
    completion token, in chunks. The model is held, not owned: registering it is the caller's business.

    Args:
        model: A Hugging Face causal LM, a ``PeftModel`` around one, or any module that takes ``input_ids [R, L]`` and
            returns an object with ``logits [R, L, V]``. One without ``get_output_embeddings()`` is scored from these
            logits, which then exist for every position.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._probe: HeadProbe | None = None
        self._probed = False

    def __call__(self, batch: PairBatch) -> Float[Tensor, " N"]:
        """Log-probs ``[N]`` of ``batch.targets`` in nats, float32 (float64 for a float64 model)."""
        return self._score(batch, collisions=False)[0]

    def with_collisions(self, batch: PairBatch) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Log-probs as above, and ``log sum_v p_v^2``: the log of how likely two draws of a token are the same.

        One forward gives both; the second ``[N]`` is of the model's distribution at each token, in nats, without a
        graph.
        """
        logps, log_collisions = self._score(batch, collisions=True)
        assert log_collisions is not None
        return logps, log_collisions

    def _score(self, batch: PairBatch, *, collisions: bool) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"] | None]:
        head, probe = self._head(batch)
        if head is None or probe is None:
            logits = self._logits(batch)
            return logps_from_logits(logits, batch.targets), collisions_from_logits(logits) if collisions else None
        score = logps_through(head, probe, collisions=collisions)
        (logps, log_collisions), nothing = self._read_rows(batch, head, probe, score)
        return logps + nothing, log_collisions

    @torch.no_grad()
    def statistics(self, batch: PairBatch) -> TokenStatistics:
        """Entropy and top-1 accuracy of each scored token: a forward of its own, for those who ask."""
        head, probe = self._head(batch)
        if head is None or probe is None:
            return token_statistics(self._logits(batch), batch.targets, nn.Identity(), vocab_size=1)
        return self._read_rows(batch, head, probe, statistics_through(head, probe))[0]

    def _read_rows(
        self, batch: PairBatch, head: nn.Module, probe: HeadProbe, read: Callable[[Tensor, Tensor], Values]
    ) -> tuple[Values, Float[Tensor, ""]]:
        """What ``read`` makes of the head's input at the scored positions, and of the targets, in one forward.

        The second is a sum of nothing, to be added to what has a graph: it puts the model's own output into it, where
        FSDP hangs its backward.
        """
        found: list[Values] = []

        def read_rows(hidden: Tensor) -> Tensor:
            found.append(read(_scored_rows(hidden, batch), batch.targets))
            # Cloned, which costs nothing: FSDP2 warns about an output that is a view.
            return found[0][0][:0].view(1, 0, 1).expand(len(hidden), 0, probe.vocab_size).clone()

        with forward_replaced(head, read_rows), layout_inputs(self.model, batch) as inputs:
            logits = self.model(**inputs).logits
        return found[0], logits.sum()

    def _head(self, batch: PairBatch) -> tuple[nn.Module | None, HeadProbe | None]:
        """The output embedding, and what the first batch's probe found out about it."""
        head = _output_embeddings(self.model)
        if not self._probed:
            self._probe = _probe(self.model, head, batch)
            self._probed = True
        return head, self._probe

    def _logits(self, batch: PairBatch) -> Float[Tensor, "N V"]:
        with layout_inputs(self.model, batch) as inputs:
            return _scored_rows(self.model(**inputs).logits, batch)


def sequence_logps(scorer: TokenScorer, batch: PairBatch) -> Float[Tensor, " S"]:
    """Summed log-probs of the completions in nats, ``[2P]``, chosen first."""
    return batch.sum_per_sequence(scorer(batch))


def _output_embeddings(model: nn.Module) -> nn.Module | None:
    getter = getattr(model, "get_output_embeddings", None)
    return getter() if getter is not None else None


def _probe(model: nn.Module, head: nn.Module | None, batch: PairBatch) -> HeadProbe | None:
    if head is None:
        return None
    probe = probe_head(model, head, batch.input_ids.flatten()[:1].expand(1, _PROBE_LENGTH))
    if probe is None:
        warnings.warn(
            f"{type(model).__name__} does more to its logits than a scale and a soft-cap: "
            "the head runs on every position, which costs memory",
            stacklevel=2,
        )
    return probe


def _scored_rows(values: Float[Tensor, "R L D"], batch: PairBatch) -> Float[Tensor, "N D"]:
    """Values at the positions that predict a scored token."""
    return values.flatten(0, 1).index_select(0, batch.predict_index)
