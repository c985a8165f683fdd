"""The mode that a reference scores in: the policy's own, unless that draws at random."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dpo_lightning import FrozenAdapter, FrozenCopy, LoRA
from dpo_lightning.batch import collate_padded
from dpo_lightning.policy.scoring_mode import ScoringMode
from tests.helpers.runs import module
from tests.helpers.tiny import PAIRS, tiny_llama


class OtherInEval(nn.Module):
    """A layer that computes otherwise in eval mode, as an 8-bit one does on a CPU."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden if self.training else hidden * 1.01


@pytest.mark.parametrize(("rate", "expected"), [(0.0, True), (0.5, False)])
def test_of_the_policy_itself(rate: float, expected: bool) -> None:
    policy = nn.Sequential(nn.Linear(2, 2), nn.Dropout(rate)).train()
    with ScoringMode(policy, policy).entered():
        assert policy[1].training is expected
    assert policy[1].training


def test_what_joins_the_policy_later_is_in_eval_mode_too() -> None:
    policy = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    mode = ScoringMode(policy, policy)
    with mode.entered():
        assert not any(module.training for module in policy.modules())
    policy.append(nn.Dropout(0.5))
    policy[1].eval()
    with mode.entered():
        assert not any(module.training for module in policy.modules())
    assert [module.training for module in policy] == [True, False, True]


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_of_a_copy(rate: float) -> None:
    policy, copy = nn.Linear(2, 2), nn.Dropout(rate).eval()
    mode = ScoringMode(copy, policy)
    for training in (True, False, True):
        policy.train(training)
        with mode.entered():
            assert copy.training is (training and not rate)


@pytest.mark.parametrize("reference", [None, FrozenCopy(), FrozenAdapter()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_layer_that_computes_otherwise_in_eval_mode_does_not_part_policy_and_reference(
    reference: Any, dropout: float
) -> None:
    policy: Any = tiny_llama()
    policy.model.norm = nn.Sequential(policy.model.norm, OtherInEval())
    run = module(policy, lora=LoRA(r=2, target_modules=["q_proj"], dropout=dropout), reference=reference)
    run.configure_model()
    for training in (True, False):
        run.train(training)
        scores: Any = run.score(collate_padded(PAIRS))
        assert torch.equal(scores.chosen_logratio, torch.zeros_like(scores.chosen_logratio))


@pytest.mark.filterwarnings("ignore")
def test_eight_bits_start_as_their_reference(tmp_path: Any) -> None:
    pytest.importorskip("bitsandbytes")
    tiny_llama(hidden_size=64, intermediate_size=64).save_pretrained(tmp_path)
    run = module(str(tmp_path), lora=LoRA(r=2), quantization_config={"load_in_8bit": True})
    run.configure_model()
    scores: Any = run.score(collate_padded(PAIRS))
    assert scores.chosen_logratio.abs().max() == 0
