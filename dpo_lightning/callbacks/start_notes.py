"""Notes at the start of a run on its numbers: experts without adapters, and updates that rounding takes away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from dpo_lightning.policy.coverage import coverage
from dpo_lightning.policy.lora import is_adapted, is_low_rank
from dpo_lightning.run import PreferenceRun
from dpo_lightning.training.usual_rates import adam_rates, unusual_rate, usual_rates_of

_SAMPLE = 1024  # weights of a parameter
_MOST_LOST = 0.75
_OF_THE_RATE = {"betas", "eps", "etas"}  # settings of optimizers whose updates have about the size of the rate


class StartNotes(pl.Callback):
    """Says, in one line each, what training will do that nobody may have meant; `PreferenceModule` adds it.

    At the start: the experts that no adapter covers, ranks that nobody allocates, and a learning rate that is 10 times
    off what is usual for Adam on all weights or on LoRA (`training/usual_rates.py`). In the first optimizer step: an
    `eps` of the optimizer that is 0 in the weights' dtype, as under `16-true`, and updates that most weights are too
    coarse for, as under `bf16-true` with a small learning rate.

    Attributes:
        lost_updates: What was said of such updates; None where there was nothing to say.
    """

    def __init__(self) -> None:
        self.lost_updates: str | None = None
        self._said = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what the adapters leave out, and whether the learning rate is a usual one."""
        self._said, self.lost_updates = False, None
        if not isinstance(pl_module, PreferenceRun):
            return
        notes = [far_rate(trainer.optimizers, pl_module)]
        if is_adapted(pl_module.policy):
            found = coverage(pl_module.policy)
            if found.bare_experts:  # the share alone is among what `StartSummary` says
                rank_zero_info(str(found))
            notes.append(unallocated_ranks(pl_module.policy))
        for note in filter(None, notes):
            _say(note)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Say what rounding takes away, once."""
        if self._said:
            return
        self._said = True
        self.lost_updates = lost_updates(optimizer)
        for note in (vanishing_eps(optimizer), self.lost_updates):
            if note is not None:
                _say(f"precision {trainer.precision}: {note}")


def _say(note: str) -> None:
    """Give a note in one line, as `HealthHints` does: a Python warning is two, and made an error it would end a run."""
    rank_zero_info(f"warning: {note}")


def far_rate(optimizers: list[Optimizer], run: PreferenceRun) -> str | None:
    """Return what to say of learning rates that are all far off; None of optimizers and adapters of no known range."""
    rates = [rate for optimizer in optimizers for rate in adam_rates(optimizer) if rate > 0]
    adapted = is_adapted(run.policy)
    if not rates or (adapted and not is_low_rank(run.policy)):
        return None
    count = sum(parameter.numel() for parameter in run.policy.parameters())
    usual = usual_rates_of(run.objective, adapted=adapted, parameters=count)
    name = type(run.objective).__name__
    least, greatest = (unusual_rate(rate, usual, name, adapted=adapted) for rate in (min(rates), max(rates)))
    return greatest if least else None  # LoRA+ gives one of two groups 16 times the rate of the other


def unallocated_ranks(policy: Any) -> str | None:
    """Return what an adapter's training lacks here that gives its ranks to layers by its own method, as AdaLoRA's."""
    if not callable(getattr(policy.base_model, "update_and_allocate", None)):
        return None
    return (
        f"policy: {type(policy.base_model).__name__} gives ranks to layers in update_and_allocate(step), which only a "
        "callback of yours calls, and its regularization is no part of the loss: without the callback, the ranks stay "
        "as they are"
    )


def vanishing_eps(optimizer: Optimizer) -> str | None:
    """Return what to do about an `eps` that is 0 in the dtype of the weights, in one line; None where there is none."""
    for group in optimizer.param_groups:
        eps = group.get("eps")
        for dtype in {parameter.dtype for parameter in group["params"]}:
            if isinstance(eps, float) and eps > 0 and not torch.tensor(eps).to(dtype):
                return (
                    f"{type(optimizer).__name__}'s eps {eps:g} is 0 in {_name(dtype)}, so that small gradients "
                    "divide by 0: set eps to 1e-4, or use bf16-true, or 16-mixed"
                )
    return None


def lost_updates(optimizer: Optimizer) -> str | None:
    """Return what to do about updates that rounding takes back, in one line; None where most weights take them.

    An update is taken to be the learning rate after warm-up, for an optimizer that divides the gradient by its size as
    Adam, RMSprop and Rprop do, and otherwise that rate times the gradient, summed up by a momentum. Half-precision
    weights are sampled; waits for the device.
    """
    lost = moved = 0
    dtype, rate = torch.float32, 0.0
    for group in optimizer.param_groups:
        grows = 1 - float(group.get("momentum", 0.0))
        for parameter, weights, gradient in _sampled(group["params"]):
            dtype, rate = parameter.dtype, float(group.get("initial_lr", group["lr"]))
            divides = not _OF_THE_RATE.isdisjoint(group)
            update = torch.full_like(weights, rate) if divides else rate * gradient.abs() / grows
            stays = [(weights + sign * update).to(dtype) == weights for sign in (1, -1)]
            lost += int((stays[0] & stays[1] & (gradient != 0)).sum())
            moved += int((gradient != 0).sum())
    if lost <= _MOST_LOST * moved:
        return None
    return (
        f"{lost / moved:.0%} of the weights are too coarse in {_name(dtype)} for a learning rate of {rate:g}, "
        "and stay as they are: use bf16-mixed or 32-true, adapters, or a higher learning rate"
    )


def _sampled(parameters: list[Any]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield each half-precision parameter with some of its weights and their gradients, in float32."""
    for parameter in parameters:
        if parameter.grad is None or parameter.dtype not in (torch.float16, torch.bfloat16):
            continue
        weights, gradient = (_local(each).flatten() for each in (parameter.detach(), parameter.grad))
        stride = max(1, len(weights) // _SAMPLE)
        yield parameter, weights[::stride].float(), gradient[::stride].float()


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
