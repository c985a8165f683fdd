"""After a run its policy has the layers that transformers and PEFT have made, whoever goes on with it, and however."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from dpo_lightning import FrozenCopy, LoRA, PreferenceModule
from dpo_lightning.callbacks import EMAReference
from dpo_lightning.compat import torch_compile
from dpo_lightning.errors import InputError
from dpo_lightning.policy import fused_layers, source
from dpo_lightning.policy.prepare import PolicyOptions
from dpo_lightning.policy.source import PolicySource
from tests.helpers import runs
from tests.helpers.tiny import tiny_llama

MIXED = "bf16-mixed"
IDS = torch.tensor([[5, 9, 3, 17, 4]])


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs that run as they were captured: inductor takes seconds for each."""
    monkeypatch.setattr(torch_compile, "fixed_kernels", "eager")
    fused_layers._fused_class.cache_clear()
    yield
    torch._dynamo.reset()
    fused_layers._fused_class.cache_clear()


def rounded() -> Any:
    """A Llama with values of bfloat16, as of a usual checkpoint."""
    model = tiny_llama()
    for parameter in model.parameters():  # not RoPE's frequencies
        parameter.data = parameter.data.bfloat16().float()
    return model


def settings(**others: Any) -> PolicyOptions:
    return PolicyOptions(**{"lora": LoRA(r=2), "fused_layers": "compile", **others})


def ours(model: nn.Module) -> set[str]:
    """The names of classes of this package that a model's layers are of; a compiled one has that of its own class."""
    found = [type(each) for each in model.modules()]
    return {
        kind.__name__ for kind in found if kind.__module__.startswith("dpo_lightning") or "fused_layer" in vars(kind)
    }


def dtypes(model: nn.Module) -> set[torch.dtype]:
    return {parameter.dtype for parameter in model.parameters()}


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


LAYERS = {"LlamaDecoderLayer", "JointLinear", "NarrowLinear"}


def test_layers_go_and_come_back() -> None:
    model = rounded()
    before = {name: (type(each), [*each.parameters(recurse=False)]) for name, each in model.named_modules()}
    held = PolicySource(model, settings())
    policy: Any = held.build(MIXED, torch.device("cpu"))
    for _ in range(2):
        assert held.is_taken
        assert (ours(policy), dtypes(policy)) == (LAYERS, {torch.float32, torch.bfloat16})
        scores = logits(policy)
        held.give_back()
        held.give_back()
        assert (ours(policy), dtypes(policy)) == (set(), {torch.float32})
        assert torch.allclose(logits(policy), scores, atol=1e-6)
        held.take_again(MIXED)
    held.give_back()
    after = dict(policy.unload().named_modules())
    assert {name: (type(each), [*each.parameters(recurse=False)]) for name, each in after.items()} == before


def test_a_policy_that_cannot_have_them_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        assert ours(model) == {"LlamaDecoderLayer"}
        raise InputError("no such adapters")

    model = rounded()
    monkeypatch.setattr(source, "with_fast_adapters", fails)
    with pytest.raises(InputError, match="no such adapters"):
        PolicySource(model, settings()).build(MIXED, torch.device("cpu"))
    assert ours(model) == set()
    assert not hasattr(model, "peft_config")


@pytest.fixture(params=["given", "named"])
def fitted(request: pytest.FixtureRequest, tmp_path: Path) -> PreferenceModule:
    """A module after a fit, whose policy was a model, or the directory of one."""
    policy: Any = rounded()
    if request.param == "named":
        policy.save_pretrained(tmp_path / "base")
        policy = str(tmp_path / "base")
    module = runs.module(policy, lora=LoRA(r=2), fused_layers="compile", step_zero_check=False, lr=0.01)
    runs.fit(tmp_path, module, precision=MIXED, max_steps=2)
    return module


def saved(policy: Any, folder: Path) -> Any:
    policy.save_pretrained(folder / "adapter")
    policy.get_base_model().save_pretrained(folder / "whole")
    return policy


def pickled(policy: Any, folder: Path) -> Any:
    written = pickle.dumps(policy)
    assert b"dpo_lightning" not in written
    return pickle.loads(written)


def another(policy: Any, folder: Path) -> Any:
    """With a second adapter, which was switched to, and taken out."""
    policy.add_adapter("second", LoraConfig(r=2, init_lora_weights="pissa", target_modules=["q_proj", "up_proj"]))
    policy.set_adapter("second")
    logits(policy)
    policy.set_adapter("default")
    policy.delete_adapter("second")
    return policy


def merged(policy: Any, folder: Path) -> Any:
    return policy.merge_and_unload()


@pytest.mark.parametrize("use", [saved, pickled, lambda policy, _: copy.deepcopy(policy), another, merged])
def test_what_one_does_with_a_policy_after_a_fit(
    fitted: PreferenceModule, use: Callable[..., Any], tmp_path: Path
) -> None:
    expected = logits(fitted.policy)
    assert (ours(fitted.policy), dtypes(fitted.policy)) == (set(), {torch.float32})
    used = use(fitted.policy, tmp_path)
    assert (ours(used), dtypes(used)) == (set(), {torch.float32})
    # Of the second adapter, PiSSA has taken a part out of the base.
    assert use is another or torch.allclose(logits(used), expected, atol=1e-5)


def test_what_is_saved_is_loaded_without_us(fitted: PreferenceModule, tmp_path: Path) -> None:
    policy: Any = saved(fitted.policy, tmp_path)
    base = copy.deepcopy(policy).unload()
    base.save_pretrained(tmp_path / "base_again")
    loaded = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base_again"), tmp_path / "adapter"
    )
    assert dtypes(loaded) == {torch.float32}
    assert torch.allclose(logits(loaded), logits(policy), atol=1e-5)


def test_the_next_stage_and_the_next_fit_have_them_again(fitted: PreferenceModule, tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def note(*_: Any) -> None:
        seen.append(ours(fitted.policy))

    handle = fitted.policy.get_input_embeddings().register_forward_pre_hook(note)
    trainer = runs.trainer(precision=MIXED, max_steps=1)
    trainer.validate(fitted, runs.data(tmp_path), verbose=False)
    trainer.fit(fitted, runs.data(tmp_path))
    handle.remove()
    assert seen
    assert all(each == LAYERS for each in seen)
    assert (ours(fitted.policy), dtypes(fitted.policy)) == (set(), {torch.float32})


def test_a_fit_that_fails_gives_them_back_too(tmp_path: Path) -> None:
    model = rounded()
    module = runs.module(model, lora=LoRA(r=2), fused_layers="compile")

    def fails(*_: Any) -> None:
        assert ours(module.policy) == LAYERS
        raise KeyError("of the user's")

    module.pair_losses = fails  # type: ignore[assignment]
    with pytest.raises(KeyError):
        runs.fit(tmp_path, module, precision=MIXED)
    assert (ours(model), dtypes(model)) == (set(), {torch.float32})


def moved_copy(**others: Any) -> PreferenceModule:
    """A module whose copied reference follows the policy, which holds its base narrow."""
    return runs.module(rounded(), reference=FrozenCopy(), lora=LoRA(r=2), lr=1e-2, **others)


def test_a_reference_that_moves_is_saved_after_a_run(tmp_path: Path) -> None:
    module, trainer = moved_copy(), runs.trainer(precision=MIXED, max_steps=2, callbacks=[EMAReference(0.9)])
    trainer.fit(module, runs.data(tmp_path))
    trainer.save_checkpoint(tmp_path / "after.ckpt")

    again = runs.trainer(precision=MIXED, max_steps=3, callbacks=[EMAReference(0.9)])
    again.fit(moved_copy(), runs.data(tmp_path), ckpt_path=str(tmp_path / "after.ckpt"))
    assert again.global_step == 3


def test_a_stage_in_another_precision_has_one_dtype(fitted: PreferenceModule, tmp_path: Path) -> None:
    runs.trainer(precision="bf16-true").validate(fitted, runs.data(tmp_path), verbose=False)

    assert dtypes(fitted.policy) == {torch.bfloat16}
    assert torch.isfinite(logits(fitted.policy)).all()


def test_weights_are_loaded_into_a_policy_that_was_given_back(
    fitted: PreferenceModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {name: value.clone() for name, value in fitted.state_dict().items()}
    monkeypatch.setattr(fitted.policy, "cpu", lambda: pytest.fail("moved"))
    fitted.load_state_dict(state)

    assert (ours(fitted.policy), dtypes(fitted.policy)) == (set(), {torch.float32})


def test_a_device_that_has_failed_does_not_hide_the_first_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Last(pl.Callback):
        told = False

        def on_exception(self, *_: Any) -> None:
            self.told = True

    def fails(*_: Any) -> None:
        monkeypatch.setattr(module.policy, "cpu", lambda: (_ for _ in ()).throw(RuntimeError("CUDA error")))
        raise KeyError("of the user's")

    module, last = runs.module(rounded(), lora=LoRA(r=2)), Last()
    module.pair_losses = fails  # type: ignore[assignment]
    with (
        pytest.warns(UserWarning, match="the policy keeps the layers of the run: CUDA error"),
        pytest.raises(KeyError, match="of the user's"),
    ):
        runs.trainer(precision=MIXED, max_steps=2, callbacks=[last]).fit(module, runs.data(tmp_path))
    assert last.told
