"""torch's kernels, modules and files behave as they are used."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from dpo_lightning.compat.torch import (
    SHARD_METADATA_TYPES,
    changes_of,
    check_archive,
    compiled,
    forward_replaced,
    has_own_forward,
    is_of_groups,
    is_unscaled,
    loss_scale,
    non_persistent_buffers,
    set_rates,
    softmax_gradient,
)
from tests.helpers.runs import module
from tests.helpers.shards import save_tensors


def test_the_gradient_of_a_softmax_is_that_of_autograd() -> None:
    scores = torch.randn(3, 5, requires_grad=True)
    probabilities = scores.softmax(-1)
    gradient = torch.randn(3, 5)
    (expected,) = torch.autograd.grad(probabilities, scores, gradient)
    torch.testing.assert_close(softmax_gradient(gradient, probabilities.detach(), torch.float32), expected)


def test_what_is_compiled_is_one_graph_for_each_number_and_for_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[Any] = []
    torch_compile = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, **options: torch_compile(f, backend=lambda g, _: graphs.append(g) or g, **options)
    )
    scaled = compiled(lambda tensor, factor: tensor * factor)

    made = []
    for length, factor in ((5, 2.0), (6, 2.0), (7, 2.0), (9, 3.0), (8, 3.0)):
        assert torch.equal(scaled(torch.ones(length), factor), torch.full((length,), factor))
        made.append(len(graphs))
    assert made == [1, 2, 2, 3, 3]


def test_an_archive_that_is_cut_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pt")
    check_archive(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-1])
    with pytest.raises(RuntimeError):
        check_archive(tmp_path / "a.pt")


def test_the_metadata_of_shards_holds_known_names_only(tmp_path: Path) -> None:
    save_tensors({"state_dict": {"a": torch.ones(2)}, "optimizer_0": {"lr": 1.0, "step": [1]}}, tmp_path)
    names = []

    class Notes(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            names.append((module, name))
            return super().find_class(module, name)

    Notes(io.BytesIO((tmp_path / ".metadata").read_bytes())).load()
    assert {"_StorageInfo", "_get_layout", "_MEM_FORMAT_ENCODING"} <= {name for _, name in names}
    assert all(name in SHARD_METADATA_TYPES.get(where, ()) for where, name in names), names


def test_buffers_that_are_not_saved_are_known() -> None:
    plain = nn.Module()
    plain.register_buffer("kept", torch.ones(1))
    plain.register_buffer("lost", torch.ones(1), persistent=False)
    assert non_persistent_buffers(plain) == {"lost"} == {"kept", "lost"} - plain.state_dict().keys()


def test_a_replaced_forward_runs_with_the_hooks_and_is_taken_back() -> None:
    layer, calls = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda *_: calls.append("hook"))
    with forward_replaced(layer, lambda value: value + 1):
        assert has_own_forward(layer)
        assert layer(torch.zeros(1)) == 1
    assert calls == ["hook"]
    assert not has_own_forward(layer)


def test_a_module_converts_inside_its_own_context() -> None:
    model: Any = module()
    model.configure_model()
    assert {buffer.dtype for buffer in model.bfloat16().policy.buffers()} == {torch.float32}
    assert next(model.policy.parameters()).dtype == torch.bfloat16


def test_an_optimizer_of_one_group_says_so() -> None:
    with pytest.raises(ValueError, match="per-parameter") as caught:
        torch.optim.LBFGS([{"params": [torch.ones(1)]}, {"params": [torch.ones(1)]}])
    assert is_of_groups(caught.value)
    assert not is_of_groups(ValueError("another"))


def test_a_scheduler_says_the_rates_that_were_set() -> None:
    scheduler = StepLR(SGD([torch.ones(1)], lr=1.0), 1)
    set_rates(scheduler, [0.5])
    assert scheduler.get_last_lr() == [0.5]


def test_a_scaler_says_its_scale_and_whose_gradients_it_has_divided() -> None:
    scaler, weight = torch.amp.GradScaler("cpu", init_scale=8.0), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    assert loss_scale(scaler) is None
    scaler.scale(weight.sum()).backward()
    assert (loss_scale(scaler), is_unscaled(scaler, optimizer)) == (8.0, False)
    scaler.unscale_(optimizer)
    assert is_unscaled(scaler, optimizer)
    assert weight.grad == 1.0


def test_changes_in_place_are_counted() -> None:
    tensor = torch.zeros(2)
    before = changes_of(tensor)
    assert changes_of(tensor.add_(1)) > before
    with torch.inference_mode():
        assert changes_of(torch.zeros(2).add_(1)) == 0
