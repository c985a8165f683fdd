"""The losses of a comparison: as many as the batch has examples or labelled completions, with a gradient."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning import DPO, SFT, PlackettLuceDPO, UnpairedBCO
from dpo_lightning.errors import InputError
from dpo_lightning.training.examples import Labelled, Pairs, comparison_of
from tests.helpers.tiny import PAIRS
from tests.training.test_examples import SEVERAL, scored
from tests.training.test_lists import LISTS

LOSSES: dict[str, tuple[Any, str]] = {
    "the mean": (lambda loss: loss.mean(), r"a tensor of shape \[\]"),
    "a column": (lambda loss: loss[:, None], r"a tensor of shape \[3, 1\]"),
    "one of each completion": (lambda loss: loss.repeat(2), r"a tensor of shape \[6\]"),
    "a tuple": (lambda loss: (loss, loss), "a tuple"),
    "a number": (lambda loss: loss.sum().item(), "a float"),
    "nothing": (lambda loss: None, "a NoneType"),
}


@pytest.mark.parametrize("objective", [DPO(), SFT()], ids=["pairs", "chosen"])
@pytest.mark.parametrize(("change", "found"), LOSSES.values(), ids=LOSSES)
def test_another_number_of_losses_is_refused(objective: Any, change: Any, found: str) -> None:
    batch, scores = scored(DPO(), PAIRS)
    message = rf"^the loss of a micro-batch with 3 examples is {found}: return the loss of each, of shape \[3\]"
    with pytest.raises(InputError, match=message):
        comparison_of(objective).losses(lambda *_: change(DPO()(scores)), batch, scores)


def test_labelled_completions_have_a_loss_each() -> None:
    batch, scores = scored(UnpairedBCO(), SEVERAL)
    losses = Labelled(UnpairedBCO()).losses(lambda _, s: UnpairedBCO()(s), batch, scores)
    assert losses.shape == (5,)
    with pytest.raises(InputError, match=r"a micro-batch with 5 completions is a tensor of shape \[3\]: return"):
        Labelled(UnpairedBCO()).losses(lambda *_: losses[:3], batch, scores)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda losses: losses.to_sparse(), r"^the loss of a micro-batch with \d examples is a sparse tensor"),
        (lambda losses: losses.long(), r"^the loss of each example is of torch\.int64: return numbers with a fraction"),
        (lambda losses: losses.detach(), "^the loss has no gradient, so that nothing would be trained"),
    ],
    ids=["sparse", "whole numbers", "detached"],
)
def test_a_loss_that_trains_nothing_is_refused(change: Any, message: str) -> None:
    batch, scores = scored(DPO(), PAIRS)
    scores = scores._replace(policy_chosen_logps=scores.policy_chosen_logps.requires_grad_())
    assert Pairs(DPO()).losses(lambda _, s: DPO()(s), batch, scores).requires_grad
    with pytest.raises(InputError, match=message):
        Pairs(DPO()).losses(lambda _, s: change(DPO()(s)), batch, scores)


def test_lists_have_a_loss_each() -> None:
    batch, scores = scored(PlackettLuceDPO(), LISTS)
    assert comparison_of(PlackettLuceDPO()).losses(lambda _, s: PlackettLuceDPO()(s), batch, scores).shape == (3,)
    with pytest.raises(InputError, match=r"a micro-batch with 3 examples is a tensor of shape \[9\]: return the loss"):
        comparison_of(PlackettLuceDPO()).losses(lambda _, s: s.policy_logps, batch, scores)
