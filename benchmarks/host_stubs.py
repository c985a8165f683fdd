"""Rows, a model and scorers without kernels, of which `host.py` measures what is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.data.dataset import ExampleDataset
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.logprobs.statistics import TokenLogps

VOCABULARY = 128_000


class Shape(NamedTuple):
    """What is measured.

    Attributes:
        tokens: Of prompt, chosen and rejected completion.
        pairs: Of a micro-batch.
        layers: Of the model.
    """

    tokens: tuple[int, int, int]
    pairs: int
    layers: int


def rows_of(shape: Shape) -> ExampleDataset:
    """Tokenised rows of equal lengths, as a run reads them."""
    from datasets import Dataset, Features, List, Value

    rng = np.random.default_rng(0)
    prompts, *completions = ([*rng.integers(VOCABULARY, size=(shape.pairs, length))] for length in shape.tokens)
    ids = List(Value("int32"))
    columns = {
        "row": [*range(shape.pairs)],
        "prompt_ids": prompts,
        "completion_ids": [[*each] for each in zip(*completions, strict=True)],
    }
    return ExampleDataset(
        Dataset.from_dict(columns, Features({"row": Value("int64"), "prompt_ids": ids, "completion_ids": List(ids)}))
    )


def small_llama(layers: int) -> nn.Module:
    """A model with as many layers and parameters as a large one, and hardly a number in each."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return LlamaForCausalLM(config)


@contextmanager
def unscored() -> Iterator[None]:
    """Let no model run: a scorer returns zeros that depend on its model's trained parameters, which it finds once."""
    found: dict[TokenScorer, list[Tensor]] = {}

    def scores(self: TokenScorer, batch: PreferenceBatch, statistics: Any = ()) -> TokenLogps:
        if self not in found:
            found[self] = [each for each in self.model.parameters() if each.requires_grad]
        trained = found[self] if torch.is_grad_enabled() else []
        return TokenLogps(_Nothing.apply(len(batch.targets), *trained), {})

    with patch.object(TokenScorer, "__call__", scores):
        yield


@contextmanager
def unattended() -> Iterator[None]:
    """Let flash attention return its queries."""
    import torch.nn.attention.varlen as flash

    with patch.object(flash, "varlen_attn", _attended):
        yield


def _attended(query: Tensor, *arguments: Any, enable_gqa: bool = False, **options: Any) -> Tensor:
    return query


class _Nothing(torch.autograd.Function):
    """Zeros `[N]`, and a gradient of zeros of each parameter."""

    @staticmethod
    def forward(ctx: Any, count: int, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return torch.zeros(count)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return (None, *(torch.zeros_like(each) for each in ctx.saved_tensors))
