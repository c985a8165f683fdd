"""A model and a batch -> the log-prob of each scored token: the one path of policy and reference."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.attention import layout_inputs
from dpo_lightning.batch import PairBatch
from dpo_lightning.logprobs.head import head_logps, logps_from_logits
from dpo_lightning.logprobs.transform import HeadProbe, probe_head

_PROBE_LENGTH = 8


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
        head = _output_embeddings(self.model)
        if not self._probed:
            self._probe = _probe(self.model, head, batch)
            self._probed = True
        if head is None or self._probe is None:
            with layout_inputs(self.model, batch) as inputs:
                logits = self.model(**inputs).logits.flatten(0, 1)
            return logps_from_logits(logits.index_select(0, batch.predict_index), batch.targets)
        with _head_input(head) as captured, layout_inputs(self.model, batch) as inputs:
            self.model(**inputs)
        hidden = captured[0].flatten(0, 1).index_select(0, batch.predict_index)
        return head_logps(head, hidden, batch.targets, self._probe)


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


@contextmanager
def _head_input(head: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the hidden states that reach ``head``, and let it run on no position."""
    captured: list[Tensor] = []

    def capture(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        captured.append(args[0])
        return (args[0][..., :0, :], *args[1:])

    handle = head.register_forward_pre_hook(capture)
    try:
        yield captured
    finally:
        handle.remove()
