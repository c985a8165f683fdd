"""The choice of a run's reference, from what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning import DPO, SFT, AnyObjective, PreferenceModule
from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.reference import (
    AdapterOff,
    FrozenAdapter,
    FrozenCopy,
    FrozenModule,
    LostReference,
    NoReference,
    Precomputed,
)
from dpo_lightning.reference.settle import checked_settings, checkpoints_of, in_memory_only, settle_reference
from tests.helpers.tiny import tiny_llama
from tests.reference.common import policy_of


@pytest.mark.parametrize("source", [FrozenCopy(tiny_llama()), FrozenModule(tiny_llama())])
def test_a_model_in_memory_is_not_precomputed(source: Any) -> None:
    with pytest.raises(
        InputError, match=r"^reference Precomputed: its source is a model in memory, where it would stay"
    ):
        PreferenceModule("some/model", reference=Precomputed(source=source))


def test_a_reference_that_nobody_reads_is_refused() -> None:
    with pytest.raises(InputError, match="objective SFT has no reference: leave `reference` out"):
        checked_settings(FrozenCopy(), is_read=False, objective="SFT")


def test_without_a_reader_there_is_none() -> None:
    assert checked_settings(None, is_read=False, objective="SFT") == NoReference()


def test_a_module_becomes_the_settings_that_hold_it() -> None:
    settings = checked_settings(tiny_llama(), is_read=True, objective="DPO")

    assert isinstance(settings, FrozenModule)
    assert in_memory_only(settings)
    assert in_memory_only(tiny_llama())
    assert in_memory_only(LostReference())
    assert not in_memory_only(FrozenCopy())
    assert in_memory_only(FrozenCopy(tiny_llama()))


def test_a_module_to_copy_is_copied_now() -> None:
    model = tiny_llama()
    settings = checked_settings(FrozenCopy(model), is_read=True, objective="DPO")
    assert isinstance(settings, FrozenModule)
    assert settings.model is not model
    assert checked_settings(FrozenCopy("there"), is_read=True, objective="DPO") == FrozenCopy("there")


def test_what_a_reference_is_loaded_from_is_known() -> None:
    assert checkpoints_of(FrozenCopy("there")) == checkpoints_of(Precomputed(source=FrozenCopy("there"))) == ["there"]
    assert checkpoints_of(FrozenCopy()) == checkpoints_of(FrozenCopy(tiny_llama())) == checkpoints_of(None) == []


@pytest.mark.parametrize(
    ("lora", "trained_adapter", "default"),
    [(None, False, FrozenCopy), (LoRA(r=2), False, AdapterOff), (LoRA(r=2), True, FrozenAdapter)],
)
def test_the_default_is_the_cheapest_that_equals_the_policy(lora, trained_adapter, default) -> None:
    policy = policy_of(lora=lora) if lora else tiny_llama()

    assert type(settle_reference(None, policy, trained_adapter)) is default
    assert settle_reference(Precomputed(), policy, trained_adapter).source == default()
    assert settle_reference(FrozenCopy("there"), policy, trained_adapter) == FrozenCopy("there")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("some/model", r"^reference: 'some/model' is no Reference: write FrozenCopy\('some/model'\)$"),
        (FrozenCopy, r"^reference: FrozenCopy is a class: write FrozenCopy\(\.\.\.\)$"),
        (True, r"^reference: True is no Reference: give FrozenCopy\(\) or a module$"),
    ],
)
@pytest.mark.parametrize("objective", [DPO(), SFT()], ids=["DPO", "SFT"])
def test_what_is_no_reference_is_refused_where_it_is_given(wanted: Any, message: str, objective: AnyObjective) -> None:
    with pytest.raises(InputError, match=message):
        PreferenceModule("some/model", objective, wanted)
