"""What holds for every reference inside a module: it is never trained, saved or listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import AdamW

from dpo_lightning import PreferenceModule
from dpo_lightning.errors import InputError
from dpo_lightning.losses import SFT
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.reference import (
    AdapterOff,
    BoundReference,
    FrozenAdapter,
    FrozenCopy,
    NoReference,
    Precomputed,
    Reference,
)
from dpo_lightning.training.parameters import decay_groups
from tests.helpers.tiny import tiny_llama
from tests.reference.common import BATCH, logps, policy_of


def settings_of(case: str, path: Path) -> dict[str, Any]:
    tiny_llama().save_pretrained(path / "model")
    return {
        "copy": {"policy": tiny_llama()},
        "checkpoint": {"policy": tiny_llama(), "reference": FrozenCopy(str(path / "model"))},
        "adapter off": {"policy": tiny_llama(), "lora": LoRA(r=2)},
        "copy of an adapter": {"policy": tiny_llama(), "lora": LoRA(r=2), "reference": FrozenCopy()},
        "frozen adapter": {"policy": policy_of(lora=LoRA(r=2, init_lora_weights=False))},
        "module": {"policy": tiny_llama(), "reference": tiny_llama(seed=5)},
        "none": {"policy": tiny_llama(), "objective": SFT()},
    }[case]


@pytest.mark.parametrize(
    "case", ["copy", "checkpoint", "adapter off", "copy of an adapter", "frozen adapter", "module", "none"]
)
def test_a_module_neither_saves_nor_trains_its_reference(case: str, tmp_path: Path) -> None:
    settings = settings_of(case, tmp_path)
    module = PreferenceModule(**settings)
    module.configure_model()
    assert isinstance(module.reference, BoundReference)
    trainable = {f"policy.{name}" for name, p in module.policy.named_parameters() if p.requires_grad}
    optimized = {id(p) for group in AdamW(decay_groups(module)).param_groups for p in group["params"]}

    assert module.state_dict().keys() == trainable
    assert {name for name, p in module.named_parameters() if id(p) in optimized} == trainable
    assert not any(FrozenAdapter.NAME in name for name in trainable)
    registered = {name for name, _ in module.named_parameters()}
    assert registered == {f"policy.{name}" for name, _ in module.policy.named_parameters()}
    assert {name for name, _ in module.named_children()} == {"policy", "train_metrics", "eval_metrics", "running_mean"}


@pytest.mark.parametrize("make", [FrozenCopy, AdapterOff, FrozenAdapter, Precomputed, NoReference])
def test_settings_are_frozen_and_serve_any_number_of_modules(make: Callable[[], Reference]) -> None:
    lora = LoRA(r=2) if make in (AdapterOff, FrozenAdapter) else None
    reference = make()
    modules = [PreferenceModule(tiny_llama(seed), reference=reference, lora=lora) for seed in (0, 1)]
    for module in modules:
        module.configure_model()
        module.configure_model()  # Lightning does, for each stage

    first, second = modules
    assert first.reference_settings is second.reference_settings is reference
    assert first.reference is not second.reference
    if make is not Precomputed:
        assert torch.equal(first.reference.token_logps(BATCH), _before_training(0, make))
        assert torch.equal(second.reference.token_logps(BATCH), _before_training(1, make))
    with pytest.raises(FrozenInstanceError):
        reference.policy = tiny_llama()  # type: ignore[attr-defined]


def _before_training(seed: int, make: Callable[[], Reference]) -> torch.Tensor:
    return torch.zeros(len(BATCH.targets)) if make is NoReference else logps(tiny_llama(seed).eval())


def test_settings_that_did_not_fit_serve_the_next() -> None:
    reference = AdapterOff()
    with pytest.raises(InputError, match="set `lora`"):
        PreferenceModule(tiny_llama(), reference=reference).configure_model()

    fitting = PreferenceModule(tiny_llama(), reference=reference, lora=LoRA(r=2))
    fitting.configure_model()

    assert fitting.reference_settings is reference


def test_no_reference_is_zero() -> None:
    reference = NoReference().bind(tiny_llama())

    scores = reference.token_logps(BATCH)

    assert scores.tolist() == [0.0] * len(BATCH.targets)
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    assert reference.diagnose() == "the objective has no reference"
