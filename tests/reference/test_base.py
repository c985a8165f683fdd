"""What holds for every reference inside a module: it is never trained, saved or listed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import AdamW

from dpo_lightning import PreferenceModule
from dpo_lightning.errors import InputError
from dpo_lightning.losses import SFT
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.reference import AdapterOff, FrozenAdapter, FrozenCopy, NoReference, Precomputed, Reference
from dpo_lightning.training.parameters import decay_groups
from tests.helpers.tiny import tiny_llama
from tests.reference.common import BATCH, policy_of


def settings_of(case: str, path: Path) -> dict[str, Any]:
    tiny_llama().save_pretrained(path / "model")
    return {
        "copy": {"policy": tiny_llama()},
        "checkpoint": {"policy": tiny_llama(), "reference": FrozenCopy(str(path / "model"))},
        "adapter off": {"policy": tiny_llama(), "lora": LoRA(r=2)},
        "copy of an adapter": {"policy": tiny_llama(), "lora": LoRA(r=2), "reference": FrozenCopy()},
        "frozen adapter": {"policy": policy_of(lora=LoRA(r=2, init_lora_weights=False))},
        "none": {"policy": tiny_llama(), "objective": SFT()},
    }[case]


@pytest.mark.parametrize("case", ["copy", "checkpoint", "adapter off", "copy of an adapter", "frozen adapter", "none"])
def test_a_module_neither_saves_nor_trains_its_reference(case: str, tmp_path: Path) -> None:
    settings = settings_of(case, tmp_path)
    module = PreferenceModule(**settings)
    module.configure_model()
    assert module.policy is not None
    assert isinstance(module.reference, Reference)
    trainable = {f"policy.{name}" for name, p in module.policy.named_parameters() if p.requires_grad}
    optimized = {id(p) for group in AdamW(decay_groups(module)).param_groups for p in group["params"]}

    assert module.state_dict().keys() == trainable
    assert {name for name, p in module.named_parameters() if id(p) in optimized} == trainable
    assert not any(FrozenAdapter.NAME in name for name in trainable)
    registered = {name for name, _ in module.named_parameters()}
    assert registered == {f"policy.{name}" for name, _ in module.policy.named_parameters()}
    assert {name for name, _ in module.named_children()} == {"policy", "train_metrics", "eval_metrics", "running_mean"}


@pytest.mark.parametrize("make", [FrozenCopy, AdapterOff, FrozenAdapter, Precomputed])
@pytest.mark.parametrize("built", [True, False], ids=["after it was bound", "before"])
def test_a_reference_is_one_modules(make: Callable[[], Reference], built: bool) -> None:
    lora = LoRA(r=2) if make in (AdapterOff, FrozenAdapter) else None
    reference = make()
    first = PreferenceModule(tiny_llama(), reference=reference, lora=lora)
    another = partial(PreferenceModule, tiny_llama(), reference=reference, lora=lora)
    too_late = another if built else another().configure_model
    first.configure_model()
    first.configure_model()  # Lightning does, for each stage

    with pytest.raises(InputError, match=f"the reference {make.__name__} is another module's already: give each"):
        too_late()


def test_a_reference_that_did_not_fit_is_free() -> None:
    reference = AdapterOff()
    with pytest.raises(InputError, match="set `lora`"):
        PreferenceModule(tiny_llama(), reference=reference).configure_model()

    fitting = PreferenceModule(tiny_llama(), reference=reference, lora=LoRA(r=2))
    fitting.configure_model()

    assert fitting.reference is reference


def test_no_reference_is_zero() -> None:
    reference = NoReference()
    reference.bind(tiny_llama())

    scores = reference.token_logps(BATCH)

    assert scores.tolist() == [0.0] * len(BATCH.targets)
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    assert reference.diagnose(tiny_llama()) == "the objective has no reference"
