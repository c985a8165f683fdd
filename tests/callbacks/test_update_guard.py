"""Bad updates: stopped or skipped, counted, capped, and named; on all ranks alike."""

from __future__ import annotations

import json
import math
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from dpo_lightning import PreferenceDataModule, PreferenceModule
from dpo_lightning.callbacks import UpdateGuard
from dpo_lightning.errors import InputError, RunError
from tests.helpers.resumable import in_processes
from tests.helpers.runs import data, module, rows, trainer
from tests.helpers.scaling import ScaledLoss
from tests.helpers.tiny import tiny_llama, tiny_tokenizer


class Poison(pl.Callback):
    """Makes the loss, or the gradient of a finite loss, bad in chosen optimizer steps of accumulated pairs."""

    def __init__(self, *steps: int, loss: float | None = None, gradient: float = 1.0, **where: int) -> None:
        self.steps, self.loss, self.gradient, self.where = steps, loss, gradient, where
        self.seen: list[list[int]] = []
        self.weights: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        ids = batch.row_ids.tolist()
        self.seen.append(ids)
        pl_module.poisoned = (
            trainer.global_step in self.steps
            and self.where.get("pair", ids[0]) in ids
            and self.where.get("batch", batch_idx) == batch_idx
        )
        pl_module.poison = self

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.weights.append(next(pl_module.policy.parameters()).detach().clone())


class Poisoned(PreferenceModule):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        if not self.poisoned:
            return loss
        if self.poison.loss is not None:
            return loss * self.poison.loss
        return _ScaledGradient.apply(loss, self.poison.gradient)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.1)


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * ctx.factor, None


def fit(tmp_path: Any, poison: Poison, guard: UpdateGuard, **settings: Any) -> pl.Trainer:
    runner = trainer(callbacks=[poison, guard], **{"max_steps": 4, "limit_val_batches": 0, **settings})
    runner.fit(Poisoned(tiny_llama(), step_zero_check=False), data(tmp_path))
    return runner


def test_a_loss_that_is_not_finite_names_its_micro_batch(tmp_path):
    poison = Poison(1, loss=math.nan, batch=2)
    with pytest.raises(RunError, match="a loss is not finite at optimizer step 1") as stopped:
        fit(tmp_path, poison, UpdateGuard(), accumulate_grad_batches=2, max_epochs=20, max_steps=-1)
    assert len(poison.seen) == 4
    assert f"on the pairs {sorted(poison.seen[2])} " in str(stopped.value)
    # The window's other micro-batch was computed, and no weight changed in it.
    assert torch.equal(poison.weights[-1], poison.weights[1])


def test_an_infinite_gradient_of_finite_losses_names_the_whole_step(tmp_path):
    poison = Poison(1, gradient=math.inf)
    with pytest.raises(
        RunError, match=r"the gradient norm is (inf|nan) although the losses are finite, at optimizer step 1"
    ) as stopped:
        fit(tmp_path, poison, UpdateGuard(), accumulate_grad_batches=2, max_epochs=2)
    assert f"on the pairs {sorted(poison.seen[2] + poison.seen[3])} " in str(stopped.value)


@pytest.mark.parametrize("clipped_by", [None, "norm", "value"])
def test_skipped_steps_change_nothing_and_are_counted(tmp_path, clipped_by):
    poison, guard = Poison(1, loss=math.nan), UpdateGuard(skips=1)
    clipping = {"gradient_clip_val": 1.0, "gradient_clip_algorithm": clipped_by} if clipped_by else {}
    with pytest.warns(UserWarning, match="skipped, 1 of at most 1"):
        runner = fit(tmp_path, poison, guard, **clipping)
    assert runner.global_step == 4
    assert torch.equal(poison.weights[1], poison.weights[0])  # weight decay and moments left them alone, too
    assert not torch.equal(poison.weights[2], poison.weights[1])
    assert runner.logged_metrics["train/skipped_steps"] == 1
    assert math.isfinite(runner.logged_metrics["train/loss"])


def test_its_pairs_are_left_out_of_the_means(tmp_path):
    class Means(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self.totals = pl_module.train_metrics.totals

    means = Means()
    runner = trainer(callbacks=[means, Poison(0, 2, loss=math.nan), UpdateGuard(skips=2)], max_steps=4)
    runner.log_every_n_steps = 100
    with pytest.warns(UserWarning, match="of at most 2"):
        runner.fit(Poisoned(tiny_llama(), step_zero_check=False), data(tmp_path, val_split=None))
    assert means.totals[-1] == 2 * 4  # pairs of two steps
    assert torch.isfinite(means.totals).all()


def test_the_cap_holds(tmp_path):
    with (
        pytest.warns(UserWarning, match="of at most 1"),
        pytest.raises(RunError, match=r"optimizer step 2.* after 1 skipped steps"),
    ):
        fit(tmp_path, Poison(1, 2, loss=math.nan), UpdateGuard(skips=1))


def test_a_spike_is_bad_where_that_was_asked(tmp_path):
    poison = Poison(15, gradient=1e6)
    many = {"max_steps": 18, "max_epochs": -1}
    assert fit(tmp_path, poison, UpdateGuard(), **many).global_step == 18
    with pytest.raises(RunError, match=r"times the usual .* at optimizer step 15"):
        fit(tmp_path, poison, UpdateGuard(spike=1000.0), **many)


def test_scaled_gradients_are_not_measured():
    with pytest.raises(InputError, match=r"^UpdateGuard\.spike must be a finite number greater than 1, got 0\.5$"):
        UpdateGuard(spike=0.5)
    with pytest.raises(InputError, match=r"^UpdateGuard\.skips must be at least 0, got -1$"):
        UpdateGuard(skips=-1)


def test_state_goes_through_a_checkpoint(tmp_path):
    guard = UpdateGuard(skips=3, spike=1e9)
    with pytest.warns(UserWarning, match="skipped"):
        fit(tmp_path, Poison(1, loss=math.nan), guard)
    state = guard.state_dict()
    assert state["skipped"] == 1
    assert len(state["norms"]) == 3
    other = UpdateGuard(skips=3)
    other.load_state_dict(state)
    assert other.state_dict() == state


def on_two_ranks(rank: int, path: Any) -> None:
    """Only the rank that holds pair 5 sees a bad loss."""
    guard = UpdateGuard(skips=2)
    runner = trainer(
        callbacks=[Poison(*range(3), loss=math.nan, pair=5), guard],
        devices=2,
        strategy="ddp",
        max_steps=3,
    )
    model = Poisoned(tiny_llama(), step_zero_check=False)
    batches = PreferenceDataModule(path, tiny_tokenizer(), batch_pairs=4)
    runner.fit(model, batches)
    (guard,) = [callback for callback in runner.callbacks if isinstance(callback, UpdateGuard)]  # type: ignore[attr-defined]
    (path.parent / f"found-{rank}.txt").write_text(
        f"{runner.global_step} {guard.skipped} {next(model.policy.parameters()).double().sum().item().hex()}"  # type: ignore[union-attr]
    )


def test_all_ranks_skip_together(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(16)))
    assert in_processes(2, on_two_ranks, path, output=tmp_path) == [0, 0]
    first, second = ((tmp_path / f"found-{rank}.txt").read_text() for rank in range(2))
    assert first == second
    assert first.startswith(("3 1", "3 2"))  # pair 5 comes once in the two steps of an epoch


def test_another_exception_names_its_batch(tmp_path, caplog):
    class Fault(pl.Callback):
        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
            raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        trainer(callbacks=[Fault()]).fit(module(), data(tmp_path))
    assert "OutOfMemoryError at optimizer step 0, in a micro-batch of" in caplog.text


def test_a_scaler_may_not_skip_for_ever(tmp_path):
    precision, guard = ScaledLoss(), UpdateGuard()
    with pytest.raises(RunError, match=r"optimizer step 16, .* after 16 steps that the gradient scaler skipped: look"):
        fit(tmp_path, Poison(*range(64), gradient=math.nan), guard, plugins=[precision], max_steps=64, max_epochs=99)
    assert precision.scaler.get_scale() == 1
    assert guard.state_dict()["scaler_skipped"] == 16


def test_a_scale_that_hardly_moves_is_found(tmp_path):
    slow = [ScaledLoss(backoff_factor=0.9)]
    with pytest.raises(RunError, match="optimizer step 31, "):
        fit(tmp_path, Poison(*range(64), gradient=math.nan), UpdateGuard(), plugins=slow, max_steps=64, max_epochs=99)


def test_steps_in_which_the_scaler_finds_its_scale_are_counted_and_go_on(tmp_path):
    poison = Poison(0, 1, gradient=math.inf)
    runner = fit(tmp_path, poison, UpdateGuard(), plugins=[ScaledLoss()])
    assert runner.global_step == 4
    assert runner.logged_metrics["train/skipped_steps"] == 2
    assert torch.equal(poison.weights[1], poison.weights[0])
    assert not torch.equal(poison.weights[2], poison.weights[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (torch.Tensor.detach, "without a gradient"),
        (lambda loss: loss.to(torch.complex64), r"of torch\.complex64"),
        (lambda loss: loss.expand(3), r"a tensor of shape \[3\]"),
    ],
    ids=["detached", "complex", "several"],
)
def test_a_loss_without_a_gradient_is_one_line(tmp_path, change, said):
    class Other(PreferenceModule):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return change(super().training_step(batch, batch_idx))

    with pytest.raises(InputError, match=rf"^the loss of training_step is {said}: return one real number that"):
        trainer(max_steps=1, limit_val_batches=0).fit(Other(tiny_llama(), step_zero_check=False), data(tmp_path))


class TwoByHand(PreferenceModule):
    """Two optimizers, of which the gradient of one is bad in the first step; both steps are taken before the next."""

    bad = 0

    def __init__(self, **settings: Any) -> None:
        super().__init__(tiny_llama(), **settings)
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        weights = list(self.policy.parameters())
        self.halves = weights[:5], weights[5:]
        return [torch.optim.SGD(half, lr=0.1) for half in self.halves]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        if batch_idx == 0:
            self.halves[self.bad][0].grad.fill_(math.nan)  # type: ignore[union-attr]
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.step()
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
        return loss


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("plugins", [[ScaledLoss], []], ids=["scaled", "plain"])
@pytest.mark.filterwarnings("ignore:the gradient norm is nan:UserWarning")
def test_of_two_optimizers_the_step_of_the_bad_gradient_is_the_one_that_is_skipped(tmp_path, bad, plugins):
    model, guard = TwoByHand(), UpdateGuard(skips=1)
    model.bad = bad
    start = [each.detach().clone() for each in model.policy.parameters()]
    trainer(callbacks=[guard], plugins=[make() for make in plugins], max_steps=2).fit(model, data(tmp_path))
    assert guard.skipped + guard.scaler_skipped == 1
    halves = list(zip(start, model.policy.parameters(), strict=True))
    stayed = [all(torch.equal(*pair) for pair in half) for half in (halves[:5], halves[5:])]
    assert stayed == [bad == 0, bad == 1]


def test_a_run_of_skipped_steps_only_says_so(tmp_path):
    with pytest.warns(UserWarning, match="all 4 optimizer steps were skipped: nothing was trained"):
        fit(tmp_path, Poison(*range(4), gradient=math.nan), UpdateGuard(), plugins=[ScaledLoss()])


@pytest.mark.parametrize("fused", [False, True])
def test_a_spike_is_found_under_a_scaler(tmp_path, fused):
    class Fused(Poisoned):
        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-2, fused=fused)

    poison, guard = Poison(15, gradient=1e6), UpdateGuard(spike=1000.0, skips=1)
    runner = trainer(callbacks=[poison, guard], plugins=[ScaledLoss()], max_steps=18, limit_val_batches=0)
    with pytest.warns(UserWarning, match=r"times the usual .* at optimizer step 15.* skipped, 1 of at most 1"):
        runner.fit(Fused(tiny_llama(), step_zero_check=False), data(tmp_path))
    assert torch.equal(poison.weights[15], poison.weights[14])
    assert runner.global_step == 18
