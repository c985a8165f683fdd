"""What the backward computes again: gradients stay, and only what is cheap is computed twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dpo_lightning import PreferenceModule
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy import recompute
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.policy.recompute import Checkpointing, check_device, recomputes_layers
from dpo_lightning.policy.source import PolicySource
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import tiny_llama
from tests.policy.common import BATCH


class Counted(TorchDispatchMode):
    """Counts operations by name, and elements that are written by matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.name()] += 1
        return func(*args, **(kwargs or {}))


def wide_policy(mode: Checkpointing, lora: LoRA | None, dtype: torch.dtype = torch.float64) -> Any:
    """Hidden sizes of 128, from which on products are kept."""
    torch.manual_seed(1)
    model = tiny_llama(hidden_size=128, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2)
    return build_policy(model, dtype, PolicyOptions(lora=lora, gradient_checkpointing=mode))


@pytest.mark.parametrize("mode", [True, "selective"])
def test_gradients_of_a_run_with_adapters_are_those_without_it(mode: Checkpointing) -> None:
    found = []
    for each in (False, mode):
        torch.manual_seed(1)
        model = tiny_llama(hidden_size=128, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2)
        policy = PolicySource(model, PolicyOptions(LoRA(r=4), gradient_checkpointing=each))
        built = policy.build("32-true", torch.device("cpu"))
        TokenScorer(built)(BATCH).logps.sum().backward()
        found.append([weight.grad for weight in built.parameters() if weight.requires_grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def backward(mode: Checkpointing, lora: LoRA | None) -> tuple[list[Tensor], Counter[str]]:
    policy = wide_policy(mode, lora)
    score = TokenScorer(policy)
    score(BATCH)  # probes the head
    logps = score(BATCH).logps.sum()
    with Counted() as counted:
        logps.backward()
    return [each.grad for each in policy.parameters() if each.requires_grad], counted.calls


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["full", "lora"])
@pytest.mark.parametrize("mode", [True, "selective", "offload"])
def test_gradients_are_those_without_it(
    mode: Checkpointing, lora: LoRA | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "is_available", lambda: False)  # there is no memory to pin without a GPU
    (plain, _), (found, _) = backward(False, lora), backward(mode, lora)
    assert len(plain) == len(found) > 0
    for one, other in zip(plain, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_selective_repeats_no_long_product_and_no_attention_without_scores() -> None:
    calls = {mode: backward(mode, None)[1] for mode in (False, True, "selective")}
    layers = tiny_llama().config.num_hidden_layers
    assert calls[False]["aten::mm"] == calls["selective"]["aten::mm"]
    assert calls[True]["aten::mm"] == calls[False]["aten::mm"] + 6 * layers  # nothing needs the last one
    assert calls["selective"]["aten::rsqrt"] == calls[True]["aten::rsqrt"] == 2 * layers
    assert not calls[False]["aten::rsqrt"]


def test_selective_repeats_the_products_of_adapters() -> None:
    plain, found = (backward(mode, LoRA(r=4))[1]["aten::mm"] for mode in (False, "selective"))
    layers = tiny_llama().config.num_hidden_layers
    assert plain < found <= plain + 2 * 7 * layers


@pytest.mark.parametrize("mode", ["selective", True])
def test_a_run_is_that_without_it(mode: Checkpointing, tmp_path: Any) -> None:
    losses = []
    for each in (False, mode):
        torch.manual_seed(0)
        run = trainer(max_steps=3, log_every_n_steps=1)
        run.fit(module(gradient_checkpointing=each), data(tmp_path))
        losses.append(run.callback_metrics["train/loss"].item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["full", "lora"])
def test_selective_under_autocast_does_not_mind_what_was_cast_before(lora: LoRA | None) -> None:
    found = []
    for mode in (False, "selective"):
        policy = wide_policy(mode, lora, torch.float32)
        score = TokenScorer(policy)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                score(BATCH)
            loss = score(BATCH).logps.sum()
        loss.backward()
        found.append([each.grad for each in policy.parameters() if each.requires_grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_what_computes_layers_again() -> None:
    assert [recomputes_layers(mode) for mode in (False, True, "selective", "offload")] == [False, True, False, True]


def test_offloading_to_where_it_is_is_refused(tmp_path: Any) -> None:
    check_device("offload", torch.device("cuda"))
    check_device(True, torch.device("cpu"))
    said = "model.gradient_checkpointing: offload moves the inputs of layers to the host's memory, where a run on a CPU"
    with pytest.raises(InputError, match=said):
        trainer(max_steps=1).fit(module(gradient_checkpointing="offload"), data(tmp_path))


def test_offloading_by_an_older_transformers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "offloads", lambda model: False)
    with pytest.raises(InputError, match=r"gradient_checkpointing: offload: the installed transformers cannot keep"):
        build_policy(tiny_llama(), torch.float32, PolicyOptions(gradient_checkpointing="offload"))


@pytest.mark.parametrize("value", ["whole", 1, None])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"model\.gradient_checkpointing must be"):
        PreferenceModule(tiny_llama(), gradient_checkpointing=value)
