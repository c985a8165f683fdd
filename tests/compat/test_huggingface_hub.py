"""The clients see that work is offline."""

from __future__ import annotations

import datasets
import huggingface_hub
import pytest
import transformers.utils.hub

from dpo_lightning.compat.huggingface_hub import work_offline


def test_offline_work_is_seen_by_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    if hasattr(transformers.utils.hub, "_is_offline_mode"):
        monkeypatch.setattr(transformers.utils.hub, "_is_offline_mode", False)
    is_offline = getattr(huggingface_hub, "is_offline_mode", None) or transformers.utils.is_offline_mode  # before 1.0
    assert not is_offline()
    work_offline()
    assert is_offline()
    assert datasets.config.HF_HUB_OFFLINE


def test_a_client_before_1_0_and_a_transformers_before_5_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.utils, "reset_sessions", lambda: ended.append(True), raising=False)
    monkeypatch.setattr(transformers.utils.hub, "_is_offline_mode", False, raising=False)
    work_offline()
    assert ended == [True]
    assert vars(transformers.utils.hub)["_is_offline_mode"]
