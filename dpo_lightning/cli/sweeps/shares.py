"""Shares of a machine's GPUs for runs beside each other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import torch

from dpo_lightning.cli.sweeps.plan import Planned
from dpo_lightning.errors import InputError

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def shares_of(jobs: int, runs: Sequence[Planned]) -> list[Mapping[str, str]]:
    """Return the variables of the environment for each of so many runs beside each other.

    One run alone sees all GPUs. Several get equal shares of them, or one each in turn where they are more than the
    GPUs.

    Raises:
        InputError: for runs that ask for more GPUs than their share has, or for GPUs by their numbers.
    """
    jobs = min(jobs, max(len(runs), 1))
    gpus = _visible() if any(_takes_gpus(run) for run in runs) else []
    if jobs == 1 or not gpus:
        return [{}] * jobs
    size = max(len(gpus) // jobs, 1)
    for run in runs:
        _check(run, size, jobs)
    starts = [place * size % len(gpus) for place in range(jobs)]
    return [{_VISIBLE: ",".join(gpus[at : at + size])} for at in starts]


def _visible() -> list[str]:
    count = torch.cuda.device_count()
    named = [each for each in os.environ.get(_VISIBLE, "").split(",") if each]
    return named[:count] or [str(number) for number in range(count)]


def _takes_gpus(run: Planned) -> bool:
    return run.checked.settings["trainer"].get("accelerator") in (None, "auto", "gpu", "cuda")


def _check(run: Planned, size: int, jobs: int) -> None:
    devices = run.checked.settings["trainer"].get("devices")
    count = int(devices) if isinstance(devices, int | str) and str(devices).lstrip("-").isdecimal() else None
    if isinstance(devices, list) or (isinstance(devices, str) and count is None and devices != "auto"):
        raise InputError(
            f"sweep --jobs {jobs}: trainer.devices: {devices} names GPUs, and runs get a share: give a number"
        )
    if count is not None and count > size:
        raise InputError(f"sweep --jobs {jobs}: trainer.devices: {count} GPUs for each run, and each gets {size}")
