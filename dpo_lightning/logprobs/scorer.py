"""Log-probs of a batch's scored tokens under a model: the one path of policy and reference."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from dpo_lightning.attention import layout_inputs, tree_problem
from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.compat.torch import forward_replaced
from dpo_lightning.logprobs.head import logps_through, scored_logits
from dpo_lightning.logprobs.positions import check_shape
from dpo_lightning.logprobs.statistics import Statistic, TokenLogps
from dpo_lightning.logprobs.tiling import TILING, Tiling
from dpo_lightning.logprobs.transform import HeadProbe, probe_head
from dpo_lightning.utils.torch_modes import scoring

_PROBE_LENGTH = 8


class TokenScorer:
    """Scores the completion tokens of batches with a causal language model.

    The model runs through its own `forward`, up to the head; the head then runs on the positions that predict a
    completion token, in chunks. The model is held, not owned: registering it is the caller's business.

    Args:
        model: A Hugging Face causal LM, a `PeftModel` around one, or any module that takes `input_ids [R, L]` and
            returns an object with `logits [R, L, V]`. One without `get_output_embeddings()` is scored from these
            logits, which then exist for every position.
        tiling: Sizes of the pieces that the head is computed in.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from dpo_lightning import TokenizedExample, TokenScorer
        >>> from dpo_lightning.batch import collate_padded
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> model = LlamaForCausalLM(config)
        >>> _ = torch.nn.init.zeros_(model.model.norm.weight)  # all 32 tokens are equally likely
        >>> batch = collate_padded([TokenizedExample.pair(0, prompt_ids=[1, 2], chosen_ids=[3, 4], rejected_ids=[5])])
        >>> TokenScorer(model)(batch).logps.detach()  # -ln 32
        tensor([-3.4657, -3.4657, -3.4657])
    """

    def __init__(self, model: nn.Module, tiling: Tiling = TILING) -> None:
        self.model = model
        self.tiling = tiling
        self._probe: HeadProbe | None = None
        self._probed = False

    def __call__(self, batch: PreferenceBatch, statistics: Sequence[Statistic] = ()) -> TokenLogps:
        """Score `batch.targets` in one forward.

        Args:
            batch: A batch in any layout.
            statistics: Statistics to take of each token's distribution beside its log-prob.
        """
        head, probe = self._head(batch)
        if head is None or probe is None:
            return scored_logits(self._logits(batch), batch.targets, statistics)
        score = logps_through(head, probe, statistics, self.tiling)
        scored, nothing = self._read_rows(batch, head, probe, score)
        return scored._replace(logps=scored.logps + nothing)

    def tree_problem(self) -> str | None:
        """Run a self-test of the tree layout, and return why it is wrong for the model, or None where it is right."""
        return tree_problem(self.model)

    def _read_rows(
        self, batch: PreferenceBatch, head: nn.Module, probe: HeadProbe, score: Callable[[Tensor, Tensor], TokenLogps]
    ) -> tuple[TokenLogps, Float[Tensor, ""]]:
        """Score the head's input at the scored positions, in one forward of the model.

        Also returns a zero scalar that depends on the model's output. Add it to the log-probs: FSDP2 registers its
        backward hooks on that output.
        """
        found: list[TokenLogps] = []

        def read_rows(hidden: Tensor) -> Tensor:
            check_shape(hidden, batch.input_ids, self.model)
            found.append(score(_scored_rows(hidden, batch), batch.targets))
            # Cloned, which costs nothing: FSDP2 warns about an output that is a view.
            return found[0].logps[:0].view(1, 0, 1).expand(len(hidden), 0, probe.vocab_size).clone()

        with forward_replaced(head, read_rows), scoring(), layout_inputs(self.model, batch) as inputs:
            logits = self.model(**inputs).logits
        return found[0], logits.sum()

    def _head(self, batch: PreferenceBatch) -> tuple[nn.Module | None, HeadProbe | None]:
        """The output embedding, and what the first batch's probe found out about it."""
        head = _output_embeddings(self.model)
        if not self._probed:
            self._probe = _probe(self.model, head, batch)
            self._probed = True
        return head, self._probe

    def _logits(self, batch: PreferenceBatch) -> Float[Tensor, "N V"]:
        with scoring(), layout_inputs(self.model, batch) as inputs:
            logits = self.model(**inputs).logits
        check_shape(logits, batch.input_ids, self.model)
        return _scored_rows(logits, batch)


def sequence_logps(scorer: TokenScorer, batch: PreferenceBatch) -> Float[Tensor, " S"]:
    """Summed log-probs of the completions in nats, `[2P]`, chosen first."""
    return batch.sum_per_sequence(scorer(batch).logps)


def _output_embeddings(model: nn.Module) -> nn.Module | None:
    getter = getattr(model, "get_output_embeddings", None)
    return getter() if getter is not None else None


def _probe(model: nn.Module, head: nn.Module | None, batch: PreferenceBatch) -> HeadProbe | None:
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


def _scored_rows(values: Float[Tensor, "R L D"], batch: PreferenceBatch) -> Float[Tensor, "N D"]:
    """Values at the positions that predict a scored token."""
    return values.flatten(0, 1).index_select(0, batch.predict_index)
