"""Where a policy comes from, and what it was before training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.policy.source import PolicySource
from tests.helpers.tiny import tiny_llama
from tests.policy.common import TOKENS, dtypes, logits


def of(policy: str | nn.Module) -> PolicySource:
    return PolicySource(policy, PolicyOptions())


def test_a_name_is_the_one_given_or_the_one_loaded_under(directory: str) -> None:
    assert of(directory).name == directory
    assert of(type(tiny_llama()).from_pretrained(directory)).name == directory
    assert of(nn.Linear(2, 2)).name is None


def test_an_adapter_that_was_trained_before_is_known(directory: str, tmp_path: Path) -> None:
    adapted = build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(r=2)))
    adapted.save_pretrained(tmp_path)  # type: ignore[operator]

    assert of(adapted).has_trained_adapter
    assert of(str(tmp_path)).has_trained_adapter
    assert not of(directory).has_trained_adapter
    assert not of(tiny_llama()).has_trained_adapter


def test_a_missing_model_is_refused_before_it_is_built(directory: str, tmp_path: Path) -> None:
    of(directory).check()
    of(tiny_llama()).check()
    with pytest.raises(InputError, match="no such directory"):
        of(str(tmp_path / "nowhere")).check()


def test_weights_without_values_are_refused_before_a_run() -> None:
    model = tiny_llama()
    model.lm_head.to("meta")
    with pytest.raises(InputError, match=r"^policy: 1 of its weights are on the device meta, .* \(lm_head.weight, "):
        of(model).check()


@pytest.mark.parametrize("given", ["directory", "module"])
def test_the_config_is_that_before_training_changed_it(given: str, tmp_path: Path) -> None:
    model = tiny_llama(attention_dropout=0.5)
    model.save_pretrained(tmp_path)
    source = of(model if given == "module" else str(tmp_path))
    assert source.original_config() is None

    policy = source.build("32-true", torch.device("cpu"))

    original = source.original_config()
    assert original is not None
    assert (original["attention_dropout"], original["use_cache"]) == (0.5, True)
    assert (policy.config.attention_dropout, policy.config.use_cache) == (0.0, False)  # type: ignore[union-attr]


def test_a_model_without_a_config_has_none() -> None:
    source = of(nn.Linear(2, 2))
    source.build(None, torch.device("cpu"))

    assert source.original_config() is None


def test_a_second_one_is_as_the_first_was(directory: str) -> None:
    source = of(directory)
    first = source.build("32-true", torch.device("cpu"))
    start = logits(first.eval(), TOKENS)
    with torch.no_grad():
        next(first.parameters()).add_(1.0)

    again = source.build_again("32-true")

    assert torch.equal(logits(again.eval(), TOKENS), start)
    assert dtypes(source.build_again("bf16-true")) == {torch.bfloat16}


def test_a_module_cannot_be_had_again() -> None:
    with pytest.raises(InputError, match="given as a module, is no longer what it was"):
        of(tiny_llama()).build_again(None)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_name_without_letters_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^model\.policy: '.*' is no name: give that of a model, or its directory"):
        PolicySource(name, PolicyOptions())
