"""What an optimizer was asked to be, and how a resumed one becomes it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR, StepLR

from dpo_lightning.checkpoints.optimizers import (
    apply_setting,
    asked,
    asked_before,
    begin_at_first_rates,
    begin_rates_anew,
    go_on_without_schedule,
    other_kind,
    other_schedules,
    other_settings,
    rates,
    rates_of_now,
)
from dpo_lightning.checkpoints.schedules import take_steps
from dpo_lightning.checkpoints.settings import Difference


def half(step):
    return 0.5**step


def made(kind=AdamW, schedule=True, **settings):
    """What a Trainer's one optimizer was asked to be, of two groups."""
    settings = {"lr": 0.1, **settings}
    groups = [{"params": [torch.ones(2, requires_grad=True)]}, {"params": [torch.ones(1)], "weight_decay": 0.0}]
    optimizer = kind(groups, **settings)
    schedules = [SimpleNamespace(scheduler=LambdaLR(optimizer, half))] if schedule else []
    (found,) = asked(SimpleNamespace(optimizers=[optimizer], lr_scheduler_configs=schedules))
    return found


def test_the_rate_is_the_base_whatever_the_schedule_makes_of_it():
    now = made(betas=(0.5, 0.6))
    now.optimizer.param_groups[0]["lr"] = 0.025
    plain = now.plain()
    assert (plain["class"], plain["schedule"]) == ("AdamW", "LambdaLR")
    assert [group["lr"] for group in plain["groups"]] == [0.1, 0.1]
    assert plain["groups"][0]["betas"] == [0.5, 0.6]
    assert "params" not in plain["groups"][0]


def test_of_an_older_checkpoint_the_states_say_it():
    now = made()
    saved = {"optimizer_states": [now.optimizer.state_dict()]}
    assert asked_before(saved)[0]["groups"] == now.plain()["groups"]
    assert asked_before({"optimizers": [now.plain()]}) == [now.plain()]


def test_settings_that_differ_are_named_with_their_group():
    before = made().plain()
    found = set(other_settings(made(lr=0.2, weight_decay=0.5, eps=1e-6), before))
    of_both = {Difference("optimizer.lr", 0.1, 0.2), Difference("optimizer.eps", 1e-8, 1e-6)}
    decay = Difference("optimizer.weight_decay", 0.01, 0.5)  # which the second group has none of
    assert found == {(0, decay), *((place, each) for place in (0, 1) for each in of_both)}


def test_a_state_of_another_kind_is_named():
    now = made()
    state = now.optimizer.state_dict()
    assert list(other_kind(now, now.plain(), state)) == []
    assert list(other_kind(now, made(SGD).plain(), state)) == [Difference("optimizer", "SGD", "AdamW")]
    (old,) = other_kind(now, {"groups": made(SGD).plain()["groups"]}, state)
    assert old.before.startswith("without amsgrad, betas")
    state["param_groups"][0]["params"] = [0, 1]
    (sizes,) = other_kind(now, now.plain(), state)
    assert sizes == Difference("the optimizer's numbers of parameters", [2, 1], [1, 1])


@pytest.mark.parametrize("tensor", [False, True])
def test_a_rate_moves_with_what_the_schedule_has_made_of_it(tensor):
    now = made(lr=torch.tensor(0.2) if tensor else 0.2)
    group, scheduler = now.optimizer.param_groups[0], now.schedules[0]
    group["lr"], group["initial_lr"] = (
        (torch.tensor(0.025) if tensor else 0.025),
        0.1,
    )  # as a checkpoint's, two steps on
    scheduler.base_lrs, scheduler.last_epoch = [0.1, 0.2], 2
    apply_setting(now, 0, "lr")
    assert float(group["lr"]) == pytest.approx(0.05)
    assert float(group["initial_lr"]) == pytest.approx(0.2)
    assert float(scheduler.base_lrs[0]) == pytest.approx(0.2)


def test_another_setting_is_put_in_place_and_steps_are_counted_where_the_kernel_counts_them():
    now = made(fused=True, betas=(0.5, 0.6))
    now.optimizer.param_groups[0].update(fused=False, betas=(0.9, 0.999))
    parameter = now.optimizer.param_groups[0]["params"][0]
    now.optimizer.state[parameter]["step"] = torch.tensor(3.0)
    for key in ("fused", "betas"):
        apply_setting(now, 0, key)
    assert (now.optimizer.param_groups[0]["fused"], now.optimizer.param_groups[0]["betas"]) == (True, (0.5, 0.6))
    assert now.optimizer.state[parameter]["step"].device == parameter.device


def test_the_next_rate_is_that_of_the_schedule_as_it_is():
    now = made()
    scheduler = now.schedules[0]
    take_steps(scheduler, 3)
    assert rates_of_now(scheduler) == (0.1, 0.0125)
    assert [group["lr"] for group in now.optimizer.param_groups] == scheduler.get_last_lr() == [0.0125, 0.0125]
    assert rates_of_now(scheduler) is None
    assert rates_of_now(StepLR(now.optimizer, 1)) is None


def test_other_schedules_are_named_and_their_rates_begin_where_the_first_step_had_them():
    now = made()
    assert other_schedules(now, now.plain()) == []
    assert other_schedules(now, {**now.plain(), "schedule": "StepLR"}) is None
    held = {**now.plain(), "schedule_settings": [{"last_epoch": 7}]}
    assert [each.name for _, each in other_schedules(now, held)] == ["schedule.last_epoch"]
    now.optimizer.param_groups[0]["lr"] = 7.0
    begin_at_first_rates(now)
    assert rates(now) == [0.1, 0.1]


class Powered(AdamW):
    """An optimizer with settings beside its groups."""

    def __init__(self, params, lr=0.1, weight_decay=0.0, power=1.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        self.power, self.inner, self.tensor = power, SimpleNamespace(bits=round(power)), torch.ones(1)


def test_a_setting_beside_the_groups_is_compared():
    before = made(Powered).plain()
    assert before["attributes"] == {"power": 1.0, "inner": {"bits": 1}}
    assert list(other_kind(made(Powered), before, None)) == []
    found = list(other_kind(made(Powered, power=2.0), before, None))
    assert found == [Difference("optimizer.power", 1.0, 2.0), Difference("optimizer.inner.bits", 1, 2)]
    assert list(other_kind(made(Powered), {**before, "attributes": {}}, None)) == []


def test_another_librarys_optimizer_of_the_same_name_is_another_one():
    now = made()
    groups = [{**group, "relative_step": False} for group in now.plain()["groups"]]
    (found,) = other_kind(now, {**now.plain(), "groups": [{**groups[0], "relative_step": 1}]}, None)
    assert found.name == "the optimizer's number of groups"  # a version that had one more setting
    del groups[0]["amsgrad"]
    (found,) = other_kind(now, {**now.plain(), "groups": groups}, None)
    assert found == Difference("optimizer", "AdamW without amsgrad", "AdamW")


def test_rates_begin_anew_or_stay_as_asked():
    now = made()
    now.schedules[0].base_lrs = [7.0]
    begin_rates_anew(now)
    assert now.schedules[0].base_lrs == [0.1, 0.1]
    now.optimizer.param_groups[0]["lr"] = 7.0
    go_on_without_schedule(now)
    assert now.optimizer.param_groups[0]["lr"] == 0.1
