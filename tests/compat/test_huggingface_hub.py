"""The clients see that work is offline."""

from __future__ import annotations

import datasets
import huggingface_hub
import pytest

from dpo_lightning.compat.huggingface_hub import work_offline


def test_offline_work_is_seen_by_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    assert not huggingface_hub.is_offline_mode()
    work_offline()
    assert huggingface_hub.is_offline_mode()
    assert datasets.config.HF_HUB_OFFLINE
