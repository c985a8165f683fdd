"""An objective that reads the reference says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.losses import DPO, KTO, ORPO, SFT, Reads, Weighted
from dpo_lightning.losses.unread import require_declared_reference


def forgetting(kind: type, **members: Any) -> Any:
    return dataclass(frozen=True)(type("Forgets", (kind,), {"reads": Reads.NOTHING, **members}))()


class InRewards(ORPO):
    reads: ClassVar[Reads] = Reads.LIKELIHOOD | Reads.LENGTHS

    def rewards(self, scores: Any) -> Any:
        return scores.chosen_logratio, scores.rejected_logratio


def of_tokens(self: Any, scores: Any) -> torch.Tensor:
    return scores.tokens.sum_per_sequence(scores.tokens.policy_logps - scores.tokens.reference_logps).chunk(2)[0]


def compared(self: Any, scores: Any) -> torch.Tensor:
    return torch.where(scores.chosen_logratio > 0, 1.0, 2.0) * -scores.policy_chosen_logps


@pytest.mark.parametrize(
    "objective",
    [
        forgetting(DPO),
        forgetting(DPO, __call__=lambda _, scores: scores.chosen_logratio.nan_to_num()),
        forgetting(DPO, rewards=ORPO().rewards, __call__=compared),
        forgetting(KTO, reads=Reads.MISMATCHED | Reads.BASELINE),
        forgetting(DPO, __call__=of_tokens),
        InRewards(),
        Weighted([forgetting(DPO)], [0.5]),
    ],
)
def test_one_that_forgets_is_refused(objective: Any) -> None:
    name = type(objective).__name__
    message = f"^objective {name} reads the reference, .*: add Reads.REFERENCE to the reads of {name}$"
    with pytest.raises(InputError, match=message):
        require_declared_reference(objective)


class Fails(ORPO):
    def __call__(self, scores: Any) -> Any:
        raise RuntimeError("not on these")


class Draws(ORPO):
    def __call__(self, scores: Any) -> Any:
        return torch.rand(len(scores.policy_chosen_logps))


@pytest.mark.parametrize("objective", [DPO(), SFT(), ORPO(), Fails(), Draws()])
def test_one_that_says_what_it_reads_passes_and_leaves_the_random_state(objective: Any) -> None:
    before = torch.random.get_rng_state()
    require_declared_reference(objective)
    assert torch.equal(torch.random.get_rng_state(), before)
