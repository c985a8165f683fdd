"""Shares of a machine's GPUs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_lightning.cli.sweeps.checked import Checked
from dpo_lightning.cli.sweeps.plan import Planned
from dpo_lightning.cli.sweeps.shares import shares_of
from dpo_lightning.errors import InputError


def shares(jobs: int, gpus: int, monkeypatch: Any, visible: str = "", runs: int = 9, **trainer: Any) -> list:
    """The GPUs that each of so many runs sees; None where it sees all."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    run = Planned("a", {}, Checked((), {"trainer": trainer}, {}))
    return [share.get("CUDA_VISIBLE_DEVICES") for share in shares_of(jobs, [run] * runs)]


def test_runs_beside_each_other_have_equal_shares(monkeypatch) -> None:
    assert shares(1, 4, monkeypatch) == [None]
    assert shares(2, 4, monkeypatch) == ["0,1", "2,3"]
    assert shares(3, 8, monkeypatch) == ["0,1", "2,3", "4,5"]
    assert shares(3, 2, monkeypatch) == ["0", "1", "0"]
    assert shares(2, 2, monkeypatch, "GPU-b,GPU-a") == ["GPU-b", "GPU-a"]
    assert shares(4, 4, monkeypatch, runs=2) == ["0,1", "2,3"]
    assert shares(2, 0, monkeypatch) == [None, None]
    assert shares(2, 4, monkeypatch, accelerator="cpu") == [None, None]


@pytest.mark.parametrize("devices", ["auto", -1, "-1", 1, 2, None])
def test_a_run_may_take_its_share(devices: Any, monkeypatch) -> None:
    assert shares(2, 4, monkeypatch, devices=devices) == ["0,1", "2,3"]


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        (3, "trainer.devices: 3 GPUs for each run, and each gets 2"),
        ("4", "4 GPUs for each run, and each gets 2"),
        ([0, 1], "names GPUs"),
        ("0,1", "names GPUs"),
    ],
)
def test_more_than_a_share_is_refused(devices: Any, said: str, monkeypatch) -> None:
    with pytest.raises(InputError, match="sweep --jobs 2: ") as refused:
        shares(2, 4, monkeypatch, devices=devices)
    assert said in str(refused.value)
