"""The self-test: what it finds, what it says, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from dpo_lightning.attention import interface, selftest, tree_problem
from dpo_lightning.attention.kernels import Kernel
from tests.helpers.tiny import tiny_llama
from tools.docs.architecture_models import tiny_model

Change = Callable[[Tensor, dict[str, Any]], Tensor]


class Changed(LlamaForCausalLM):
    """A Llama that does something else to its embeddings: `change(embeddings, arguments of the forward)`."""

    change: Change

    def forward(self, input_ids: Tensor, **kwargs: Any) -> Any:
        return super().forward(inputs_embeds=self.change(self.model.embed_tokens(input_ids), kwargs), **kwargs)


def changed(change: Change) -> nn.Module:
    model = Changed(tiny_llama().config)
    model.change = change
    return model


def shift(embeddings: Tensor, reach: int) -> Tensor:
    """Half of the embedding `reach` tokens before, in the row."""
    return embeddings + 0.5 * nn.functional.pad(embeddings, (0, 0, reach, 0))[:, :-reach]


def recurrence(embeddings: Tensor) -> Tensor:
    """`h[t] = 0.8 h[t - 1] + x[t]` along the row."""
    steps = torch.arange(embeddings.shape[1])
    return (0.8 ** (steps[:, None] - steps)).tril().to(embeddings) @ embeddings


def scaled_by_place(embeddings: Tensor) -> Tensor:
    return embeddings * (1 + torch.arange(embeddings.shape[1])[:, None] / 10).to(embeddings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        tiny_llama,
        lambda: tiny_llama(attn_implementation="eager"),
        lambda: changed(lambda embeddings, _: 2 * embeddings),
        lambda: tiny_model("llama", attention_dropout=0.5).train(),
        lambda: get_peft_model(tiny_llama(), LoraConfig(r=2, init_lora_weights=False, lora_dropout=0.5)),
    ],
    ids=["llama", "eager", "subclass", "dropout", "LoRA with dropout"],
)
def test_no_problem(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    assert tree_problem(make().to(dtype)) is None


class Around(nn.Module):
    """A module that calls a model and does not say which embeddings it has."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_llama()

    def forward(self, **arguments: Any) -> Any:
        return self.inner(**arguments)


def test_a_module_around_a_model_need_not_say_its_embeddings() -> None:
    assert tree_problem(Around()) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (recurrence, "a rejected completion changes with the chosen one"),
        (lambda embeddings: shift(embeddings, 1), "a rejected completion changes with the chosen one"),
        # Beyond both completions, into the pair before.
        (lambda embeddings: shift(embeddings, 16), "a rejected completion changes with the chosen one"),
        # The same whatever the order of the chosen tokens is: found by comparison.
        (lambda embeddings: embeddings.cumsum(1) / 10, "the logits differ from those of separate sequences"),
        (scaled_by_place, "the logits differ from those of separate sequences"),
    ],
    ids=["recurrence", "convolution", "far reach", "sum", "physical positions"],
)
def test_what_goes_wrong_in_a_row_is_found(
    change: Callable[[Tensor], Tensor], problem: str, dtype: torch.dtype
) -> None:
    assert problem in (tree_problem(changed(lambda embeddings, _: change(embeddings)).to(dtype)) or "")


def test_positions_that_the_model_does_not_take_over() -> None:
    def forget(embeddings: Tensor, arguments: dict[str, Any]) -> Tensor:
        arguments.pop("position_ids", None)
        return embeddings

    assert tree_problem(changed(forget)) == "the logits differ from those of separate sequences"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: nn.Linear(2, 2), "Linear is no model of transformers"),
        (lambda: tiny_model("gptj"), "GPTJForCausalLM does not use transformers' attention interface"),
        (lambda: tiny_model("llama4_text"), "attn_temperature_tuning"),
    ],
)
def test_known_without_a_try(make: Callable[[], nn.Module], problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    monkeypatch.setattr(model, "forward", lambda **_: pytest.fail("tried"))

    assert problem in (tree_problem(model) or "")


def test_any_error_is_a_reason_in_one_line() -> None:
    def fail(embeddings: Tensor, arguments: dict[str, Any]) -> Tensor:
        if "position_ids" in arguments:
            raise KeyError("no such\nargument" + "!" * 500)
        return embeddings

    problem = tree_problem(changed(fail)) or ""

    assert problem.startswith("KeyError in its forward: 'no such")
    assert "\n" not in problem
    assert len(problem) < 250


def test_a_kernel_that_returns_no_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(query: Tensor, *_: Any) -> Tensor:
        return torch.full_like(query.transpose(1, 2), torch.nan)

    monkeypatch.setattr(interface, "_kernel", lambda *_: Kernel(lambda *_: True, lost))
    assert tree_problem(tiny_llama()) == "its logits are not finite in a packed row"


def test_too_little_memory_is_no_reason() -> None:
    def fill(embeddings: Tensor, arguments: dict[str, Any]) -> Tensor:
        if "position_ids" in arguments:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return embeddings

    with pytest.raises(torch.OutOfMemoryError):
        tree_problem(changed(fill))


def test_an_error_on_a_gpu_is_logged_as_one(caplog: pytest.LogCaptureFixture) -> None:
    error = TypeError("varlen_attn() got an unexpected keyword argument")
    assert selftest._failed(error, torch.device("cpu")) == selftest._failed(error, torch.device("cuda"))
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "TypeError in its forward: varlen_attn() got" in record.getMessage()


def test_an_error_of_a_plain_forward_is_not_the_layout_s() -> None:
    def fail(_: Tensor, __: dict[str, Any]) -> Tensor:
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        tree_problem(changed(fail))


def test_leaves_modes_gradients_and_random_numbers_alone() -> None:
    model = tiny_llama().train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()

    tree_problem(model)

    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_answer_does_not_depend_on_the_random_state() -> None:
    seen: list[Tensor] = []
    for seed in range(2):
        model = tiny_llama()
        model.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True)
        torch.manual_seed(seed)
        tree_problem(model)

    half = len(seen) // 2
    assert all(map(torch.equal, seen[:half], seen[half:]))
