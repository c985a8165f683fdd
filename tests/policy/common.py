"""Tokens, and questions to a model, that the tests of the policy share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpo_lightning.batch import collate_padded
from tests.helpers.tiny import PAIRS, VOCAB_SIZE

BATCH = collate_padded(PAIRS)
TOKENS = torch.randint(VOCAB_SIZE, (2, 12), generator=torch.Generator().manual_seed(0))


def dtypes(model: nn.Module) -> set[torch.dtype]:
    return {parameter.dtype for parameter in model.parameters()}


def logits(model: nn.Module, tokens: Tensor = TOKENS) -> Tensor:
    with torch.no_grad():
        return model(input_ids=tokens).logits
