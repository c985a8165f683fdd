"""A loss that reads what nobody has said to read says what to add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from dpo_lightning.errors import InputError
from dpo_lightning.losses import DPO, KTO, Reads
from dpo_lightning.losses.any_modifier import Modifier
from dpo_lightning.losses.base import Objective, baseline_of, column_of
from dpo_lightning.losses.scores import PairScores, TokenScores, UnpairedScores
from dpo_lightning.losses.undeclared import with_inputs
from tests.helpers import runs

LOGPS = -torch.linspace(0.5, 1.5, 8)
TOKENS = TokenScores(LOGPS, LOGPS, torch.arange(4).repeat_interleave(2), torch.full((4,), 2))
PAIRS = PairScores.from_tokens(TOKENS, {"mine": torch.ones(2)})
SINGLE = UnpairedScores.from_tokens(TOKENS, torch.tensor([True, False, True, False]), mismatched=False)

MARGIN = r"the column `margin`, which the batch does not have: add Reads.MARGIN to the objective's reads, .*data_read"
OWN = r"the column `more`, .* add reads_columns = frozenset\({\"more\"}\) to the objective, or .*data_read"
COLLISIONS = r"scores.tokens.log_collisions, .*: add Reads.COLLISIONS to the objective's reads"
BASELINE = "scores.baseline, .*: add Reads.BASELINE to its reads, and implement observe"


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda scores: scores.columns["margin"] * 2, MARGIN),
        (lambda scores: column_of(scores, "margin"), MARGIN),
        (lambda scores: scores.columns["margin"][7], MARGIN),
        (lambda scores: scores.columns["more"] + scores.columns["mine"], OWN),
        (lambda scores: scores.baseline.running, BASELINE),
        (lambda scores: baseline_of(scores).batch, BASELINE),
        (lambda scores: scores.columns["margin"] - scores.baseline[0], MARGIN),
        (
            lambda scores: scores.tokens.log_collisions.exp(),
            COLLISIONS,
        ),
    ],
)
def test_what_is_missing_is_named(read: Callable[[Any], Tensor], message: str) -> None:
    with pytest.raises(InputError, match=f"^the loss or its rewards read {message}"):
        with_inputs(read, PAIRS)


def test_completions_of_other_prompts_too() -> None:
    with pytest.raises(InputError, match=r"add Reads.MISMATCHED to the objective's reads$"):
        with_inputs(KTO().observe, SINGLE)


@pytest.mark.parametrize("key", ["nowhere", "margin"])
def test_any_other_failure_goes_on_as_it_is(key: str) -> None:
    with pytest.raises(KeyError, match=key):
        with_inputs(lambda _: {}[key], PAIRS)


@dataclass(frozen=True)
class Spread(Modifier):
    objective: Objective = field(default_factory=DPO)

    def __call__(self, scores: Any) -> Tensor:
        return self.objective(scores) * scores.columns["margin"]


@dataclass(frozen=True)
class Shifted(Spread):
    reads: ClassVar[Reads] = Reads.REFERENCE | Reads.BASELINE

    def observe(self, scores: Any) -> Any:
        return scores.columns["margin"]


@pytest.mark.parametrize("objective", [Spread(), Shifted()])
def test_a_run_ends_in_that_line(objective: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=MARGIN):
        runs.fit(tmp_path, runs.module(objective=objective))
