"""The peak of a process's memory, against what it takes here."""

from __future__ import annotations

import sys

import pytest
import torch

from dpo_lightning.utils.memory import peak_memory


@pytest.mark.skipif(sys.platform == "win32", reason="no `resource` there")
def test_it_grows_with_what_is_taken():
    before = peak_memory(torch.device("cpu"))
    held = torch.ones(int(before) // 4 + 2**24)  # float32: as much again, and 64 MiB
    after = peak_memory(torch.device("cpu"))
    assert held.nbytes < after < 4 * held.nbytes


def test_where_the_system_does_not_say(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory(torch.device("cpu")) is None


def test_of_a_gpu_it_is_torchs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7 + device.index)
    assert peak_memory(torch.device("cuda", 1)) == 8.0
