"""The rule for a bad step: on the host and on the device alike, counted and remembered."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dpo_lightning.callbacks.bad_steps import BadSteps
from dpo_lightning.errors import RunError


@pytest.mark.parametrize("spike", [None, 1.5])
def test_the_device_finds_what_the_host_finds(spike):
    rule, numbers = BadSteps(0, spike), random.Random(3)
    found = []
    for _ in range(400):
        norm = torch.tensor(numbers.choice([math.nan, math.inf, 0.0, numbers.random(), 1 + numbers.random()]))
        losses_finite = numbers.random() > 0.1
        measured = torch.stack([norm, torch.tensor(1.0), torch.tensor(float(not losses_finite))])
        on_device = bool(rule.found_on_device(measured))
        problem = rule.find(norm.item(), losses_finite=losses_finite)
        assert on_device == (problem is not None), (norm, losses_finite)
        found.append(str(problem).partition(" the")[0])
    kinds = {"None", "a loss is not finite"} | {each for each in found if each.startswith("the gradient norm is")}
    assert set(found) == kinds
    assert any("times" in each for each in found) == (spike is not None)


def test_a_norm_at_the_limit_is_no_spike_on_either():
    rule = BadSteps(0, 1.1)
    for norm in [0.1] * 10:
        assert rule.find(norm, losses_finite=True) is None
    for norm in (torch.tensor(1.1 * 0.1), torch.nextafter(torch.tensor(1.1 * 0.1), torch.tensor(1.0))):
        measured = torch.stack([norm, torch.tensor(1.0), torch.tensor(0.0)])
        on_device = bool(rule.found_on_device(measured))
        assert on_device == (norm.item() > 1.1 * 0.1) == (rule.find(norm.item(), losses_finite=True) is not None)


def test_a_bad_step_that_was_left_out_too_many_is_remembered():
    step: Any = SimpleNamespace(number=4)
    rule = BadSteps(1, None)
    for norm, stopped in [(1.0, None), (math.inf, None), (math.nan, "finite, at optimizer step 4")]:
        rule.hear(step, norm, losses_finite=True, all_ranks=False)
        assert str(rule.state()["stopped"]).endswith(str(stopped))
    assert (rule.skipped, rule.state()["norms"]) == (2, [1.0])


def test_after_norms_of_0_nothing_is_a_spike():
    rule = BadSteps(0, 2.0)
    assert [rule.find(norm, losses_finite=True) for norm in [0.0] * 10 + [1.0]] == [None] * 11


def test_the_refusal_says_how_to_go_on():
    rule = BadSteps(1, None)
    rule.restore({"skipped": 2, "norms": [1.0], "stopped": "a loss is not finite at optimizer step 7"})
    with pytest.raises(RunError, match=r"its last step left out: a loss is .* step 7: give UpdateGuard\(skips=2"):
        rule.check_goes_on()
    rule.skips = 2
    rule.check_goes_on()
    assert rule.state() == {"skipped": 2, "scaler_skipped": 0, "in_a_row": 0, "norms": [1.0], "stopped": None}
