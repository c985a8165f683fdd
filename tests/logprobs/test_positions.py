"""Outputs at other positions than the input's are found by what they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from torch import Tensor, nn

from dpo_lightning.batch import collate_padded
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.logprobs.positions import check_shape
from tests.helpers.brute import brute_token_logps, flat
from tests.helpers.tiny import PAIRS, tiny_llama

BATCH = collate_padded(PAIRS)


@pytest.mark.parametrize("kind", [PromptTuningConfig, PromptEncoderConfig])
def test_virtual_tokens_in_front_are_refused(kind: Any) -> None:
    policy = get_peft_model(tiny_llama(), kind(task_type="CAUSAL_LM", num_virtual_tokens=4))
    with pytest.raises(InputError, match=r"gives outputs at \[6, 14\] positions for \[6, 10\] tokens"):
        TokenScorer(policy)(BATCH)


def test_a_prefix_of_keys_and_values_is_scored_right() -> None:
    torch.manual_seed(0)
    policy = get_peft_model(tiny_llama(), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)).eval()
    expected = flat(brute_token_logps(policy, PAIRS))
    torch.testing.assert_close(TokenScorer(policy)(BATCH).logps.double(), expected, rtol=0, atol=1e-4)


class Longer(nn.Module):
    """A model without a head of its own, which puts a position in front."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(64, 64)

    def forward(self, input_ids: Tensor) -> Any:
        logits = self.table(input_ids)
        return SimpleNamespace(logits=torch.cat([logits[:, :1], logits], 1))


def test_a_model_without_a_head_of_its_own_is_asked_too() -> None:
    with pytest.raises(InputError, match=r"^Longer gives outputs at \[6, 11\] positions for \[6, 10\] tokens"):
        TokenScorer(Longer())(BATCH)


def test_rows_and_positions_are_the_inputs() -> None:
    check_shape(torch.zeros(2, 3, 7), torch.zeros(2, 3), nn.Linear(1, 1))
    for shape in ((2, 4, 7), (1, 3, 7)):
        with pytest.raises(InputError, match="Linear gives outputs at"):
            check_shape(torch.zeros(shape), torch.zeros(2, 3), nn.Linear(1, 1))
