"""Optimizers and schedules of a run that goes on: what they were asked to be, and how they become it."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dpo_lightning.checkpoints.contents import OPTIMIZER_STATES, OPTIMIZERS
from dpo_lightning.checkpoints.schedules import depends_on_steps, is_plain, other_settings_of, schedule_settings
from dpo_lightning.checkpoints.settings import Difference, differences
from dpo_lightning.compat.torch import set_rates
from dpo_lightning.training.fused import KERNEL, is_chosen

RATE = "lr"
BASE_RATE = "initial_lr"  # a schedule puts it into each group
_NO_SETTINGS = ("params", "param_names", BASE_RATE)
_NO_ATTRIBUTES = ("state", "param_groups", "defaults")
_ON_DEVICE = (KERNEL, "capturable")  # kernels that count the steps where the parameter is


class Asked(NamedTuple):
    """An optimizer, and what it was asked to be.

    Attributes:
        optimizer: The optimizer.
        groups: Settings of each group as it was made, the base rate as `lr`.
        schedules: Its schedulers, most often one.
        first_rates: The rate of each group in the first step.
    """

    optimizer: Optimizer
    groups: list[dict[str, Any]]
    schedules: list[Any]
    first_rates: list[float]

    def plain(self) -> dict[str, Any]:
        """Return it in the types that a checkpoint holds; a kernel that nobody asked for is no setting."""
        left = {KERNEL: None} if is_chosen(self.optimizer) else {}
        return {
            "class": type(self.optimizer).__name__,
            "schedule": ", ".join(type(each).__name__ for each in self.schedules),
            "schedule_settings": [schedule_settings(each) for each in self.schedules],
            "groups": [{**_plain_settings(group), **left} for group in self.groups],
            "attributes": _attributes(self.optimizer),
        }


def asked(trainer: pl.Trainer) -> list[Asked]:
    """Return what the optimizers of a Trainer are asked to be, before a checkpoint's states take its place."""
    schedules = [each.scheduler for each in trainer.lr_scheduler_configs]
    return [
        Asked(
            optimizer,
            [_settings(group) for group in optimizer.param_groups],
            [each for each in schedules if each.optimizer is optimizer],
            [float(group[RATE]) for group in optimizer.param_groups if group.get(RATE) is not None],
        )
        for optimizer in trainer.optimizers
    ]


def asked_before(saved: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what the optimizers of a checkpoint's fit were asked to be; of an older one, what their states say."""
    if OPTIMIZERS in saved:
        return list(saved[OPTIMIZERS])
    states = saved.get(OPTIMIZER_STATES, [])
    return [{"groups": [_plain_settings(_settings(group)) for group in state["param_groups"]]} for state in states]


def other_kind(now: Asked, before: Mapping[str, Any], state: Mapping[str, Any] | None) -> Iterator[Difference]:
    """Yield why an optimizer cannot take a saved state: another class, other groups, a setting that made the state.

    Args:
        now: The optimizer.
        before: What `asked_before` says of the saved one.
        state: Its state dict; None where the strategy loads it, by the names of parameters.
    """
    name, was = type(now.optimizer).__name__, before.get("class")
    ours, theirs = ({*groups[0]} if groups else set() for groups in (now.groups, before["groups"]))
    lacking, lost = ours - theirs, theirs - ours
    if lacking and (was is None or (was == name and lost)):  # the same name may be another library's
        was = f"{was or ''} without {', '.join(sorted(lacking))}".lstrip()
    if was not in (None, name):
        yield Difference("optimizer", was, name)
        return
    yield from differences("optimizer", before.get("attributes", {}), _attributes(now.optimizer))
    if state is None and len(before["groups"]) != len(now.groups):
        yield Difference("the optimizer's number of groups", len(before["groups"]), len(now.groups))
    sizes = [len(group["params"]) for group in now.optimizer.param_groups]
    if state is not None and (saved := [len(group["params"]) for group in state["param_groups"]]) != sizes:
        yield Difference("the optimizer's numbers of parameters", saved, sizes)
    found = list(other_settings(now, before))
    if any(_is_of_the_first_step(now.optimizer, now.groups[place], each) for place, each in found):
        yield from {str(each): each for _, each in found}.values()


def _is_of_the_first_step(optimizer: Optimizer, group: Mapping[str, Any], setting: Difference) -> bool:
    """Return whether a setting changes the first step alone, as what Adagrad's sums and Rprop's rates begin with."""
    now = {name: group[name] for name in inspect.signature(type(optimizer)).parameters if name in group}
    before = {**now, setting.name.rpartition(".")[2]: setting.before}

    def weight(first: Mapping[str, Any], then: Mapping[str, Any]) -> float:
        tried = torch.ones(1, dtype=torch.float64, requires_grad=True)
        tried.grad = torch.ones_like(tried)
        trial = type(optimizer)([tried], **first)
        trial.step()
        trial.param_groups[0].update(then)
        trial.step()
        return tried.item()

    try:
        return weight(before, now) == weight(before, before) != weight(now, now)
    except Exception:  # one that is made or called otherwise
        return False


def other_settings(now: Asked, before: Mapping[str, Any]) -> Iterator[tuple[int, Difference]]:
    """Yield the number of a group, and a setting of it that is not that of the checkpoint's fit."""
    for place, (was, group) in enumerate(zip(before["groups"], now.plain()["groups"], strict=False)):
        yield from ((place, each) for each in differences("optimizer", was, group))


def other_schedules(now: Asked, before: Mapping[str, Any]) -> list[tuple[Any, Difference]] | None:
    """Return the schedules with a setting that is not that of the checkpoint's fit; None where others were there."""
    if before.get("schedule", now.plain()["schedule"]) != now.plain()["schedule"]:
        return None
    held = zip(now.schedules, before.get("schedule_settings", []), strict=False)
    return [(each, other) for each, settings in held for other in other_settings_of(each, settings)]


def apply_setting(now: Asked, place: int, key: str) -> None:
    """Give a group a setting that was asked for; a rate moves with what the schedule has made of it."""
    group, value = now.optimizer.param_groups[place], now.groups[place][key]
    if key != RATE:
        group[key] = value
        if key in _ON_DEVICE and value:
            _count_steps_on_device(now.optimizer)
        return
    base = float(group.get(BASE_RATE, group[RATE]))
    _set_rate(group, float(group[RATE]) * float(value) / base if base else float(value))
    if BASE_RATE in group:
        group[BASE_RATE] = value
    for each in now.schedules:
        if hasattr(each, "base_lrs"):
            each.base_lrs[place] = value


def begin_lacking_states_anew(now: Asked, places: Collection[int]) -> set[str]:
    """Take the states of groups that lack what their settings need, such as `max_exp_avg_sq` for `amsgrad`.

    Args:
        now: The optimizer, with the settings that were asked for.
        places: The numbers of the groups to look at.

    Returns:
        The names of what is lacking; empty where all states stay.
    """
    lacking: set[str] = set()
    for place in places:
        group = now.optimizer.param_groups[place]
        held = [(each, state) for each in group["params"] if (state := now.optimizer.state.get(each))]
        if not held:
            continue
        missing = _needed(now.optimizer, group, held[0][0]) - {name for _, state in held for name in state}
        lacking |= missing
        for parameter, _ in held if missing else ():
            del now.optimizer.state[parameter]
    return lacking


def _needed(optimizer: Optimizer, group: Mapping[str, Any], like: Tensor) -> set[str]:
    """Return what an optimizer holds of a parameter after its first step, tried on one of one element."""
    tried = torch.zeros([1] * like.ndim, dtype=like.dtype, device=like.device, requires_grad=True)
    tried.grad = torch.zeros_like(tried)
    rate = group[RATE].clone() if isinstance(group[RATE], Tensor) else group[RATE]
    trial = copy.copy(optimizer)
    trial.__dict__ = {name: value for name, value in vars(optimizer).items() if name != "step"}  # a schedule counts it
    trial.state = defaultdict(dict)
    trial.param_groups = [{**group, RATE: rate, "params": [tried]}]
    try:
        type(optimizer).step(trial)
    except Exception:  # one that needs a closure or real shapes says so in the run's own step
        return set()
    return {*trial.state[tried]}


def begin_rates_anew(now: Asked) -> None:
    """Let the schedules move the rates that were asked for, where a checkpoint's optimizer had others."""
    for each in now.schedules:
        if hasattr(each, "base_lrs"):
            each.base_lrs = [group[RATE] for group in now.groups]


def go_on_without_schedule(now: Asked) -> None:
    """Give each group the rate that was asked for, where no schedule moves it any more."""
    for group, settings in zip(now.optimizer.param_groups, now.groups, strict=False):
        _set_rate(group, settings[RATE])


@contextmanager
def unscheduled(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """Take the base rates of schedules out of the groups: torch's reader of shards fails where only one run has them.

    The base rates of the checkpoint's fit come back by the state of its schedules, others by `apply_setting`.
    """
    optimizers = list(optimizers)
    bases = [[group.pop(BASE_RATE, None) for group in each.param_groups] for each in optimizers]
    yield
    for each, rates in zip(optimizers, bases, strict=True):
        for group, rate in zip(each.param_groups, rates, strict=True):
            if rate is not None:
                group[BASE_RATE] = rate


def rates(now: Asked) -> list[float]:
    """Return the rate of each group."""
    return [float(group[RATE]) for group in now.optimizer.param_groups]


def begin_at_first_rates(now: Asked) -> None:
    """Give each group the rate of the first step again, from where schedules that multiply it are stepped."""
    if any(depends_on_steps(each) for each in now.schedules):
        for group, rate in zip(now.optimizer.param_groups, now.first_rates, strict=False):
            _set_rate(group, rate)


def rates_of_now(scheduler: Any) -> tuple[float, float] | None:
    """Let the next step have the rate that the schedule has for it now: its length may be another one.

    Returns:
        A rate that was changed, before and now; None where all stay, and for a schedule that is no function of the
        step.
    """
    if not isinstance(scheduler, LambdaLR):
        return None
    factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
    wanted = [base * factor for base, factor in zip(scheduler.base_lrs, factors, strict=False)]
    groups = scheduler.optimizer.param_groups
    changed = [
        (float(group[RATE]), float(rate))
        for group, rate in zip(groups, wanted, strict=False)
        if float(group[RATE]) != float(rate)
    ]
    if not changed:
        return None
    for group, rate in zip(groups, wanted, strict=False):
        _set_rate(group, rate)
    set_rates(scheduler, [group[RATE] for group in groups])
    return changed[0]


def _attributes(optimizer: Optimizer) -> dict[str, Any]:
    """Return settings that an optimizer keeps beside its groups, such as the `args.optim_bits` of bitsandbytes'."""
    held = {name: value for name, value in vars(optimizer).items() if name not in _NO_ATTRIBUTES and name[0] != "_"}
    objects = {name: value for name, value in held.items() if hasattr(value, "__dict__") and not callable(value)}
    inner = {name: vars(value) for name, value in objects.items() if vars(value)}
    plain = {name: value for name, value in held.items() if is_plain(value)}
    return {**plain, **{name: dict(value) for name, value in inner.items() if all(map(is_plain, value.values()))}}


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    settings = {key: value for key, value in group.items() if key not in _NO_SETTINGS}
    return {**settings, RATE: group.get(BASE_RATE, group.get(RATE))}


def _plain_settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in group.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


def _set_rate(group: dict[str, Any], rate: Any) -> None:
    if isinstance(group[RATE], Tensor):
        group[RATE].fill_(rate)
    else:
        group[RATE] = rate


def _count_steps_on_device(optimizer: Optimizer) -> None:
    for parameter, state in optimizer.state.items():
        if isinstance(step := state.get("step"), torch.Tensor):
            state["step"] = step.to(parameter.device)
