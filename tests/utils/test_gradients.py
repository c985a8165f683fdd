"""The length of a gradient, against loops and by hand."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import nn

from dpo_lightning import PreferenceModule
from dpo_lightning.utils import gradients
from dpo_lightning.utils.gradients import gradient_norm, norm_of_step
from tests.helpers.runs import fit, module, trainer
from tests.helpers.scaling import ScaledLoss
from tests.helpers.tiny import tiny_llama


def test_gradient_norm_against_a_loop() -> None:
    model = tiny_llama()
    model(input_ids=torch.arange(10)[None]).logits.square().mean().backward()
    model.model.norm.weight.grad = None
    squares = sum((p.grad.double() ** 2).sum().item() for p in model.parameters() if p.grad is not None)

    norm = gradient_norm(model)

    assert norm.item() == pytest.approx(math.sqrt(squares), rel=1e-5)
    assert norm.ndim == 0


def test_gradient_norm_by_hand() -> None:
    linear = nn.Linear(2, 1)
    linear.weight.grad, linear.bias.grad = torch.tensor([[2.0, 3.0]]), torch.tensor([6.0])

    assert gradient_norm(linear).item() == 7.0


def test_gradient_norm_of_none() -> None:
    assert gradient_norm(nn.Linear(2, 1)).item() == 0.0


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_the_logged_norm_is_without_the_scale_of_the_loss(tmp_path: Path, fused: bool, scale: float) -> None:
    ours = module(optimizer=partial(torch.optim.AdamW, lr=1e-3, fused=fused))
    plain = module(optimizer=partial(torch.optim.AdamW, lr=1e-3))

    found, _ = fit(tmp_path, ours, max_steps=1, plugins=[ScaledLoss(init_scale=scale)])
    expected, _ = fit(tmp_path, plain, max_steps=1)

    assert found.callback_metrics["train/grad_norm"] == pytest.approx(
        expected.callback_metrics["train/grad_norm"].item(), rel=1e-5
    )


def other_hook(trainer: Any, pl_module: Any, *_: Any) -> None:
    for parameter in pl_module.parameters():
        if parameter.grad is not None:
            parameter.grad.data.mul_(8.0)  # which torch does not count


class Changes(pl.Callback):
    on_before_optimizer_step = staticmethod(other_hook)


@pytest.mark.parametrize(
    "callbacks",
    [[], [Changes()], [LambdaCallback(on_before_optimizer_step=other_hook)]],
    ids=["alone", "with a hook that changes it", "with a hook of the object"],
)
def test_a_step_measures_its_gradient_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, callbacks: Any) -> None:
    measured: list[float] = []

    norm_of = gradients._norm_of

    def norm(*given: Any) -> torch.Tensor:
        measured.append(norm_of(*given).item())
        return torch.tensor(measured[-1])

    monkeypatch.setattr(gradients, "_norm_of", norm)
    run = module(optimizer=partial(torch.optim.SGD, lr=1.0))
    before = [each.detach().clone() for each in run.parameters()]
    fit(tmp_path, run, callbacks=callbacks, max_steps=1, gradient_clip_val=1e-3)
    moved = torch.cat([(a - b).flatten() for a, b in zip(run.parameters(), before, strict=True)]).detach()
    assert moved.norm().item() == pytest.approx(1e-3, rel=2e-2)
    assert len(measured) == (3 if callbacks else 1)


def test_a_shared_norm_is_the_one_measured_anew_to_the_last_bit() -> None:
    run = module()
    run.configure_model()
    weights = [each for each in run.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD([{"params": weights[1::2]}, {"params": weights[::2]}], lr=1.0)
    run.trainer = SimpleNamespace(optimizers=[optimizer], precision_plugin=None, callbacks=[])  # type: ignore[assignment]
    for seed in range(20):
        torch.manual_seed(seed)
        for each in weights:
            each.grad = torch.randn_like(each)
        assert torch.equal(gradient_norm(run), gradient_norm(run, optimizer))


def test_a_norm_is_that_of_the_gradients_of_now() -> None:
    run = module()
    run.configure_model()
    trainer(max_steps=1).strategy.connect(run)
    run.trainer = trainer()
    weights = [each for each in run.parameters() if each.requires_grad]
    for each in weights:
        each.grad = torch.ones_like(each)
    first = norm_of_step(run, measure=True)
    assert norm_of_step(run) is first
    weights[0].grad.mul_(3.0)  # type: ignore[union-attr]
    second = norm_of_step(run)
    assert second.item() == pytest.approx(gradient_norm(run).item()) != pytest.approx(first.item())
    weights[1].grad = weights[1].grad * 5.0  # type: ignore[operator]
    assert norm_of_step(run).item() == pytest.approx(gradient_norm(run).item()) != pytest.approx(second.item())
    only = torch.optim.SGD(weights[:1], lr=1.0)
    assert norm_of_step(run, only).item() == pytest.approx(3.0 * math.sqrt(weights[0].numel()))


SCALED = {"none": lambda: [], "scaled": lambda: [ScaledLoss(init_scale=1024.0)], "bf16-mixed": None}


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("kind", SCALED)
def test_a_fused_optimizer_is_clipped_as_any_other(tmp_path: Path, kind: str, algorithm: Any) -> None:
    precision: Any = {"precision": "bf16-mixed"} if SCALED[kind] is None else {}
    found = []
    for fused in (False, True):
        run = module(optimizer=partial(torch.optim.AdamW, lr=1e-3, eps=1e-2, fused=fused))
        plugins = {"plugins": SCALED[kind]()} if not precision else {}
        fit(tmp_path, run, gradient_clip_val=1e-2, gradient_clip_algorithm=algorithm, **precision, **plugins)
        found.append(torch.cat([each.detach().flatten() for each in run.parameters()]))
    start = torch.cat([each.detach().flatten() for each in module().parameters()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)
    assert (found[0] - start[: len(found[0])]).abs().max() > 1e-5


def test_who_clips_in_a_hook_of_ones_own_clips_a_fused_optimizer(tmp_path: Path) -> None:
    class Own(PreferenceModule):
        def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
            self.clip_gradients(optimizer, gradient_clip_val=1e-3, gradient_clip_algorithm="norm")
            self.norm = gradient_norm(self).item()

    run = Own(tiny_llama(), optimizer=partial(torch.optim.AdamW, lr=1e-3, fused=True))
    fit(tmp_path, run, precision="bf16-mixed", max_steps=1)
    assert run.norm == pytest.approx(1e-3, rel=1e-2)
